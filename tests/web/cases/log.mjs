// The log's pages: ask, narrow, page, follow, prove, export; with keys alone and without JavaScript.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { WAIT_MS, agent, api, at, deny, faults, first, held, someone } from "../browser.mjs";

const log = (query) => at(`/log?q=${encodeURIComponent(query)}`);
const rows = (page) => page.locator("[data-records] > li");

/** How often the person's looks at the log that begin so are on record. */
async function looks(words) {
  const { items } = await api(`/log?q=${encodeURIComponent("kind:log_query by:dba-1")}&limit=1000`);
  return items.filter((item) => item.query.startsWith(words)).length;
}

async function runs(sql) {
  const ended = await agent(sql).ended;
  assert.equal(ended.code, 0, ended.errors);
}

export const cases = {
  async a_query_is_narrowed_by_a_click_on_a_value_and_widened_again() {
    await runs("SELECT 1 AS log_narrowed; SELECT 2 AS log_narrowed");
    const one = await held("DROP TABLE log_narrowed", "log_narrowed");
    const page = await someone(first);
    await page.goto(log("log_narrowed"));
    const before = await looks("query log_narrowed verdict:hold");
    await page.getByRole("heading", { name: "Narrow by" }).waitFor();
    const count = page.locator(".facet li", { hasText: "hold" }).locator(".num").first();
    assert.equal(await count.innerText(), "1");
    await page.locator(".facet").getByRole("link", { name: "hold", exact: true }).click();
    await page.waitForURL(/verdict%3Ahold/);
    assert.equal(await page.getByLabel("Query", { exact: true }).inputValue(), "log_narrowed verdict:hold");
    assert.equal(await rows(page).count(), 1);
    assert.match(await rows(page).first().innerText(), /DROP TABLE log_narrowed/);
    assert.equal(await looks("query log_narrowed verdict:hold"), before + 1, "a page of records, bars and counts is one look");
    await page.getByRole("link", { name: "verdict:hold : take away" }).click();
    await page.waitForURL((url) => !url.href.includes("verdict"));
    assert.ok((await rows(page).count()) >= 2);
    one.leave();
    await page.goto(at(`/r/${one.id}`));
    await deny(page, "done");
  },

  async a_query_that_cannot_be_read_is_shown_at_its_word_with_examples() {
    const page = await someone(first);
    await page.goto(at("/log"));
    await page.getByLabel("Query", { exact: true }).fill("class:ddl <b>clas</b>:x clas:read");
    await page.keyboard.press("Enter");
    const alert = page.getByRole("alert");
    assert.equal(await alert.locator("mark").innerText(), "clas:read");
    assert.match(await alert.innerText(), /`clas:read` at column 25 is no key of the log/);
    assert.equal(await page.getByLabel("Query", { exact: true }).inputValue(), "class:ddl <b>clas</b>:x clas:read");
    await page.locator(".examples").getByRole("link", { name: "class:ddl,grant since:7d" }).click();
    await page.getByRole("heading", { name: "Records" }).waitFor();
    assert.equal(await page.getByLabel("Query", { exact: true }).inputValue(), "class:ddl,grant since:7d");
  },

  async a_bar_leads_to_its_time_by_mouse_and_its_table_by_keys() {
    await runs("SELECT 3 AS log_bar");
    const page = await someone(first);
    await page.goto(log("log_bar"));
    await page.locator(".chart svg a:has(.bar-allow)").last().click();
    await page.waitForURL(/since%3A.*until%3A/);
    assert.ok((await rows(page).count()) >= 1);
    assert.match(await page.getByLabel("Query", { exact: true }).inputValue(), /^log_bar since:\S+ until:\S+$/);
    await page.goto(log("log_bar"));
    await page.getByText("The bars as a table").focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL(/since%3A.*until%3A/);
    assert.ok((await rows(page).count()) >= 1);
  },

  async pages_lead_to_older_records_and_back_to_the_same_ones() {
    await runs(Array.from({ length: 130 }, (_, n) => `SELECT ${n} AS log_paged;`).join("\n"));
    const page = await someone(first);
    const ids = () => rows(page).evaluateAll((items) => items.map((item) => item.dataset.id));
    await page.goto(log("log_paged kind:attempt"));
    const newest = await ids();
    assert.equal(newest.length, 100);
    await page.getByRole("link", { name: "Older records" }).click();
    await page.waitForURL(/cursor=/);
    const older = await ids();
    assert.equal(older.length, 30);
    assert.equal(new Set([...newest, ...older]).size, 130, "a record is on two pages");
    await page.getByRole("link", { name: "Newer records" }).click();
    await page.waitForURL(/newer=/);
    assert.deepEqual(await ids(), newest);
    assert.equal(await page.getByRole("link", { name: "Newer records" }).count(), 0);
    await page.getByRole("link", { name: "Older records" }).click();
    await page.waitForURL(/cursor=/);
    assert.deepEqual(await ids(), older);
  },

  async the_log_is_followed_when_asked_to_and_never_moves_what_is_read() {
    await runs(Array.from({ length: 40 }, (_, n) => `SELECT ${n} AS log_followed;`).join("\n"));
    const page = await someone(first);
    await page.goto(log("log_followed kind:attempt"));
    // What came between the page and its news is not lost.
    await runs("SELECT 'between' AS log_followed");
    const before = await looks("follow ");
    assert.equal(await rows(page).count(), 40);
    await page.getByRole("button", { name: "Follow" }).click();
    await page.getByText("following", { exact: true }).waitFor();
    await rows(page).filter({ hasText: "'between'" }).waitFor();
    const hostile = "SELECT '</code><img src=x onerror=alert(1)>\u202e' AS log_followed";
    await runs(hostile);
    const row = rows(page).filter({ hasText: "</code><img src=x onerror=alert(1)>⟦U+202E⟧" });
    await row.waitFor();
    assert.equal(await page.locator("main img").count(), 0);
    assert.equal(await row.locator(".verdict-word").innerText(), "allow");
    assert.equal(await looks("follow "), before + 1, "following is one look");
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await runs("SELECT 'later' AS log_followed");
    await page.getByRole("button", { name: "Show 1 new" }).waitFor({ state: "attached" });
    assert.equal(await rows(page).filter({ hasText: "'later'" }).count(), 0, "the list moved while it was read");
    await page.evaluate(() => scrollTo(0, 0));
    await rows(page).filter({ hasText: "'later'" }).waitFor();
    const found = await faults(page, "following");
    await page.getByRole("button", { name: "Stop following" }).click();
    await runs("SELECT 'unseen' AS log_followed");
    await page.waitForTimeout(1000);
    assert.equal(await rows(page).filter({ hasText: "'unseen'" }).count(), 0);
    assert.equal(await looks("follow "), before + 1, "a heartbeat is a look");
    assert.deepEqual(found, []);
  },

  async a_record_shows_what_is_around_it_and_is_proved_to_somebody_who_has_only_the_key() {
    await runs("SELECT 1 AS log_before;\nSELECT 2 AS log_proved;\nSELECT 3 AS log_after");
    const page = await someone(first);
    await page.goto(log("log_proved kind:attempt"));
    await rows(page).getByRole("link").first().click();
    await page.getByRole("heading", { name: "Around it" }).waitFor();
    const id = (await page.locator("h1").innerText()).replace("Record ", "");
    await page.getByRole("link", { name: "of its session" }).click();
    await page.waitForURL(/around=session/);
    const around = await page.locator("[data-records]").innerText();
    assert.match(around, /log_before[^]*log_proved[^]*log_after/);
    assert.equal(await page.locator("[data-records] [aria-current]").innerText(), id);
    // A checkpoint follows a decision within two seconds.
    const one = await held("DROP TABLE log_proved", "DROP TABLE log_proved");
    await page.goto(at(`/r/${one.id}`));
    await deny(page, "done");
    await one.ended;
    const until = Date.now() + WAIT_MS;
    do {
      await page.goto(at(`/log/${id}`));
    } while ((await page.locator("#proof-title ~ p .well").count()) === 0 && Date.now() < until);
    const [file] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "Download the proof" }).click(),
    ]);
    assert.equal(file.suggestedFilename(), `${id}.tlog-proof`);
    const proof = readFileSync(await file.path(), "utf8");
    assert.match(proof, /^c2sp\.org\/tlog-proof@v1\nextra [A-Za-z0-9+/=]+\nindex \d+\n/);
    const extra = Buffer.from(/^extra (.*)$/m.exec(proof)[1], "base64").toString("latin1");
    assert.ok(extra.includes("log_proved"), "the proof is of another statement");
  },

  async a_query_is_exported_in_each_format() {
    await runs("SELECT 1 AS log_exported");
    const page = await someone(first);
    await page.goto(log("log_exported kind:attempt"));
    for (const [name, end] of [["CSV", ".csv"], ["NDJSON", ".ndjson"], ["JSON", ".json"], ["OCSF", ".ocsf.ndjson"]]) {
      const [file] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("link", { name, exact: true }).click(),
      ]);
      assert.ok(file.suggestedFilename().endsWith(end), file.suggestedFilename());
      assert.ok(readFileSync(await file.path(), "utf8").includes("log_exported"), name);
    }
  },

  async a_period_is_downloaded_as_evidence() {
    const page = await someone(first);
    await page.goto(at("/log"));
    const day = (days) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
    await page.getByLabel("From").fill(day(0));
    await page.getByLabel("Up to, without that day").fill(day(1));
    const [file] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Download the bundle" }).click(),
    ]);
    assert.ok(file.suggestedFilename().endsWith(".zip"), file.suggestedFilename());
    assert.equal(readFileSync(await file.path()).subarray(0, 2).toString(), "PK");
  },

  async the_log_is_asked_without_javascript() {
    await runs("SELECT 1 AS log_plain");
    const page = await someone(first, { javaScriptEnabled: false });
    await page.goto(at("/log"));
    assert.equal(await page.getByRole("button", { name: "Follow" }).count(), 0);
    await page.getByLabel("Query", { exact: true }).fill("log_plain kind:attempt");
    await page.getByRole("button", { name: "Find" }).click();
    assert.equal(await rows(page).count(), 1);
    await page.locator(".chart svg a:has(.bar-allow)").first().click();
    assert.equal(await rows(page).count(), 1);
    await rows(page).getByRole("link").first().click();
    await page.getByRole("heading", { name: "Around it" }).waitFor();
  },

  async the_status_page_tells_of_signing_anchors_and_limits() {
    const page = await someone(first);
    await page.goto(at("/status"));
    const part = page.getByRole("region", { name: "The log's proof" });
    assert.match(await part.innerText(), /last checkpoint[^]*ago, over [\d,]+ records/);
    assert.match(await part.innerText(), /no anchor is configured/);
    await page.getByText("No webhook is configured").waitFor();
    await page.getByRole("heading", { name: "Limits reached since the start" }).waitFor();
  },
};

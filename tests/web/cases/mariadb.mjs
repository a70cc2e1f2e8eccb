// The pages with the mariadb client as the agent: what it sees while somebody decides in a browser.

import { spawn } from "node:child_process";
import assert from "node:assert/strict";
import { WAIT_MS, api, approve, at, deny, first, second, sheet, someone, state } from "../browser.mjs";

/** The mariadb client with a script, every statement on one connection; goes on after errors. */
function mariadb(sql) {
  const url = new URL(sheet.mysql_url);
  const place = ["-h", url.hostname, "-P", url.port, "-u", url.username];
  const child = spawn("mariadb", ["--no-defaults", ...place, "-N", "-B", "--force", "--unbuffered", url.pathname.slice(1)], {
    env: { ...process.env, MYSQL_PWD: decodeURIComponent(url.password) },
  });
  const said = { out: "", errors: "" };
  child.stdout.on("data", (text) => (said.out += text));
  child.stderr.on("data", (text) => (said.errors += text));
  const ended = new Promise((done) => child.on("close", (code) => done({ code, ...said })));
  child.stdin.end(sql);
  return { ended, said, leave: () => child.kill() };
}

async function held(sql, mark) {
  const waits = mariadb(sql);
  const until = Date.now() + WAIT_MS;
  while (Date.now() < until) {
    const { items } = await api("/requests?state=pending");
    const found = items.find((item) => (item.text ?? "").includes(mark));
    if (found && found.impact.status !== "estimating") return { ...waits, id: found.id };
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`not held: ${waits.said.errors}`);
}

/** What the client printed, a line each, without the numbers of its connection, which are to be one. */
function lines(out) {
  const all = out.trim().split("\n");
  const connections = new Set(all.filter((line) => line.startsWith("on ")));
  assert.equal(connections.size, 1, `not one connection: ${out}`);
  return all.filter((line) => !line.startsWith("on "));
}

const CONNECTION = "SELECT CONCAT('on ', CONNECTION_ID());\n";

export const cases = {
  async the_mariadb_client_gets_its_results_on_the_connection_on_which_it_was_held() {
    const one = await held(
      `${CONNECTION}SELECT 'before';\nDROP TABLE IF EXISTS maria_approved;\nSELECT 'after';\n${CONNECTION}`,
      "maria_approved",
    );
    const page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    assert.match(await page.locator(".verdict").innerText(), /DDL/i);
    assert.doesNotMatch(one.said.out, /after/);
    await approve(page);
    const ended = await one.ended;
    assert.equal(ended.code, 0, ended.errors);
    assert.deepEqual(lines(ended.out), ["before", "after"]);
    await page.getByText("finished", { exact: true }).waitFor();
    const [said] = (await api(`/requests/${one.id}`)).decisions;
    assert.deepEqual([said.by, said.channel], [first.person, "web"]);
  },

  async the_mariadb_client_reads_a_denial_and_goes_on() {
    const one = await held(`${CONNECTION}DROP TABLE maria_denied;\nSELECT 'still here';\n${CONNECTION}`, "maria_denied");
    const page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("Deny…", { exact: true }).locator("visible=true").first().click();
    await page.locator("#deny-reason").fill("billing reads it");
    // What the agent will read comes from the server, a moment after the reason was typed.
    await page.locator(".preview", { hasText: "billing reads it" }).waitFor();
    const preview = (await page.locator(".preview").innerText()).trim();
    await page.getByRole("button", { name: /^Deny [0-9A-Z]{6}$/ }).click();
    const ended = await one.ended;
    assert.ok(ended.errors.includes(preview), `${ended.errors} has not ${preview}`);
    assert.match(ended.errors, /ERROR 1227 \(42000\)/);
    assert.deepEqual(lines(ended.out), ["still here"]);
    assert.equal(await state(one.id), "denied");
  },

  async a_question_is_read_by_the_mariadb_client_and_answered_by_sending_again() {
    const sql = "DROP TABLE IF EXISTS maria_asked";
    const one = await held(`${CONNECTION}${sql};\nSELECT 'asked';\n${CONNECTION}`, "maria_asked");
    let page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await page.locator("#question").fill("does billing still read it?");
    await page.getByRole("button", { name: "Ask" }).click();
    const asked = await one.ended;
    assert.match(asked.errors, /ERROR 1644 \(45000\).*QUESTION.*does billing still read it\?/s);
    assert.deepEqual(lines(asked.out), ["asked"]);
    const again = mariadb(`SET @countersign_reply = 'no, since May';\n${sql};\nSELECT 'done';\n`);
    const until = Date.now() + WAIT_MS;
    while (!JSON.stringify(await api(`/requests/${one.id}`)).includes("no, since May")) {
      assert.ok(Date.now() < until, "the reply does not come");
      await new Promise((done) => setTimeout(done, 100));
    }
    // A page of its own: on the other one, news of the reply may load the card at any moment.
    await page.close();
    page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("no, since May").first().waitFor();
    await approve(page);
    const ended = await again.ended;
    assert.equal(ended.code, 0, ended.errors);
    assert.match(ended.out, /done/);
  },

  async two_browsers_race_and_one_double_clicks_over_a_mariadb_statement() {
    const one = await held("DROP TABLE IF EXISTS maria_raced;\nSELECT 'raced';\n", "maria_raced");
    const [quick, slow] = await Promise.all([someone(first), someone(second)]);
    await Promise.all([quick.goto(at(`/r/${one.id}`)), slow.goto(at(`/r/${one.id}`))]);
    await slow.getByText("Deny…", { exact: true }).locator("visible=true").first().click();
    await slow.locator("#deny-reason").fill("too late");
    await quick.getByText("Approve…", { exact: true }).locator("visible=true").first().click();
    await quick.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ }).dblclick();
    const ended = await one.ended;
    assert.equal(ended.code, 0, ended.errors);
    await slow.getByRole("button", { name: /^Deny [0-9A-Z]{6}$/ }).click();
    await slow.getByRole("heading", { name: "Already decided" }).waitFor();
    const { decisions } = await api(`/requests/${one.id}`);
    assert.deepEqual(decisions.map((said) => said.by), [first.person]);
  },

  async hostile_text_and_200_kb_from_the_mariadb_client_are_shown_as_they_are() {
    const page = await someone(first);
    const rows = Array.from({ length: 9000 }, (_, n) => `(${n}, 'name of ${n}')`).join(", ");
    const long = `DELETE FROM maria_long WHERE (id, name) NOT IN (${rows})`;
    assert.ok(long.length > 200_000);
    const one = await held(`${long};\n`, "maria_long");
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("Read the statement to its end").waitFor();
    assert.equal(await page.locator("#approve").isVisible(), false);
    const shown = await page.locator(".statement .line code").allTextContents();
    assert.equal(shown.join("").replaceAll(/\s/g, ""), long.replaceAll(/\s/g, ""), "not the statement's own bytes");
    await deny(page, "too long");
    await one.ended;
    const name = "</code><img src=x onerror='window.pwned=1'>";
    const two = await held(`DROP TABLE \`maria_hostile ${name}\` /*! , other */ -- \u202e\n;\n`, "maria_hostile");
    for (const path of ["/", `/r/${two.id}`, "/log?q=maria_hostile"]) {
      await page.goto(at(path));
      assert.equal(await page.evaluate(() => window.pwned), undefined, path);
      assert.doesNotMatch(await page.evaluate(() => document.documentElement.innerText), /\u202e/, path);
      assert.ok((await page.locator("main").innerText()).includes(name), path);
    }
    await page.goto(at(`/r/${two.id}`));
    await deny(page, "no");
    await two.ended;
  },

  async a_wait_that_ends_before_the_decision_is_told_and_the_same_bytes_run_afterwards() {
    const sql = "DROP TABLE IF EXISTS maria_late";
    const one = await held(`SET @countersign_wait = '3s';\n${sql};\nSELECT 'pending';\n`, "maria_late");
    const page = await someone(first);
    const ended = await one.ended;
    assert.match(ended.errors, /ERROR 1644 \(45000\).*PENDING/s);
    assert.match(ended.out, /pending/);
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("detached", { exact: true }).first().waitFor();
    await approve(page);
    await page.getByText("grant", { exact: true }).first().waitFor();
    const again = await mariadb(`${sql};\nSELECT 'ran';\n`).ended;
    assert.equal(again.code, 0, again.errors);
    assert.equal(await state(one.id), "redeemed");
  },

  async what_the_mariadb_client_sends_is_handed_on_and_what_nobody_decides_expires() {
    // Expires after six seconds; meanwhile the other one is handed to the next group.
    const one = await held("DROP TABLE web_expiring;\nSELECT 'goes on';\n", "web_expiring");
    const two = await held("DELETE FROM web_handed WHERE id = 7;\nSELECT 'after it';\n", "id = 7");
    const page = await someone(first);
    await page.goto(at(`/r/${two.id}`));
    await page.locator("#escalate > summary").click();
    await page.getByLabel("Reason for those who decide next").fill("not mine to say");
    await page.keyboard.press("Enter");
    await page.getByText("You can deny this, but not approve it").waitFor();
    await deny(page, "nor theirs");
    const denied = await two.ended;
    assert.match(denied.errors, /nor theirs/);
    assert.match(denied.out, /after it/);
    const ended = await one.ended;
    assert.match(ended.errors, /EXPIRED/i);
    assert.match(ended.out, /goes on/);
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("expired", { exact: true }).first().waitFor();
    assert.equal(await page.locator("#approve").count(), 0, "an approval is still offered");
    assert.equal(await state(one.id), "expired");
  },
};

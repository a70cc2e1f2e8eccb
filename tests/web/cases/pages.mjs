// Queue and card with psql as the agent: decisions, races, hostile text, framing, keys, no JavaScript.

import assert from "node:assert/strict";
import { api, approve, at, breaches, deny, first, held, second, sends, someone, state } from "../browser.mjs";

/** In the order in which they run; each leaves nothing that waits. */
export const cases = {
  async only_who_is_signed_in_sees_a_page_and_comes_back_to_it() {
    const page = await someone(null);
    await page.goto(at("/rules"));
    assert.match(page.url(), /\/sign-in\?next=\/rules$/);
    await page.getByLabel("Token").fill("cs_wrong");
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByRole("alert").getByText("wrong, has ended or was revoked").waitFor();
    await page.getByLabel("Token").fill(first.token);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByRole("heading", { name: "Rules", exact: true }).waitFor();
    await sends(page, () => page.getByRole("button", { name: "Sign out" }).click());
    await page.goto(at("/"));
    await page.getByRole("heading", { name: "Sign in", exact: true }).waitFor();
  },

  async a_held_statement_comes_into_the_queue_by_itself_and_runs_once_approved() {
    const page = await someone(first);
    await page.locator('[data-live][data-state="live"]').waitFor();
    const one = await held("DROP TABLE IF EXISTS web_approved; SELECT 41 + 1", "web_approved");
    await page.getByRole("link", { name: new RegExp(one.id) }).waitFor();
    await page.waitForFunction(() => /^\(\d+\) /.test(document.title));
    const waiting = /^\((\d+)\)/.exec(await page.title())[1];
    assert.equal(waiting, await page.locator("[data-count]").innerText());
    assert.ok((await page.locator('link[rel="icon"]').getAttribute("href")).endsWith(`/icon/${waiting > 9 ? "more" : waiting}.svg`));
    await page.getByRole("link", { name: new RegExp(one.id) }).click();
    assert.equal(await state(one.id), "pending");
    await approve(page);
    const ended = await one.ended;
    assert.equal(ended.code, 0, ended.errors);
    assert.match(ended.out, /42/);
    await page.getByText("finished", { exact: true }).waitFor();
    const [said] = (await api(`/requests/${one.id}`)).decisions;
    assert.deepEqual([said.by, said.channel], [first.person, "web"]);
  },

  async a_denial_is_previewed_and_read_by_the_agent() {
    const page = await someone(first);
    const one = await held("DROP TABLE web_denied", "web_denied");
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("Deny…", { exact: true }).locator("visible=true").first().click();
    await page.locator("#deny-reason").fill("billing reads it");
    await page.getByText(/billing reads it\. Do not retry/).waitFor();
    const preview = await page.locator(".preview").innerText();
    assert.match(preview, /DENIED by dba-1 \([0-9A-Z]{6}\): billing reads it\. Do not retry/);
    await page.getByRole("button", { name: /^Deny [0-9A-Z]{6}$/ }).click();
    await page.getByText("denied", { exact: true }).first().waitFor();
    const ended = await one.ended;
    assert.ok(ended.errors.includes(preview.trim()), `${ended.errors} has not ${preview}`);
  },

  async who_loses_a_race_is_told_who_decided() {
    const [one, two] = await Promise.all([someone(first), someone(second)]);
    const request = await held("DROP TABLE web_raced", "web_raced");
    await Promise.all([one.goto(at(`/r/${request.id}`)), two.goto(at(`/r/${request.id}`))]);
    await two.getByText("Approve…", { exact: true }).locator("visible=true").first().click();
    await deny(one, "not today");
    await one.getByText("denied", { exact: true }).first().waitFor();
    await two.getByText("has changed meanwhile").waitFor();
    await two.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ }).click();
    await two.getByRole("heading", { name: "Already decided" }).waitFor();
    await two.getByText(/dba-1/).first().waitFor();
    await request.ended;
    assert.equal(await state(request.id), "denied");
  },

  async a_double_click_is_one_decision() {
    const page = await someone(first);
    const one = await held("DROP TABLE IF EXISTS web_twice", "web_twice");
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("Approve…", { exact: true }).locator("visible=true").first().click();
    await page.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ }).dblclick();
    assert.equal((await one.ended).code, 0);
    await page.getByText("finished", { exact: true }).waitFor();
    assert.equal((await api(`/requests/${one.id}`)).decisions.length, 1);
  },

  async a_form_that_is_sent_twice_counts_once() {
    const page = await someone(first);
    const one = await held("DROP TABLE web_resent", "web_resent");
    await page.goto(at(`/r/${one.id}`));
    const body = await page.locator("#deny form").evaluate((form) => {
      form.querySelector("[name=reason]").value = "no";
      return new URLSearchParams(new FormData(form)).toString();
    });
    const other = await page.context().newPage();
    await other.goto(at("/status"));
    const send = () =>
      other.evaluate(
        async ([path, body]) =>
          (await fetch(path, { method: "POST", body, headers: { "content-type": "application/x-www-form-urlencoded" } })).status,
        [`/r/${one.id}/decision`, body],
      );
    assert.deepEqual([await send(), await send()], [200, 200]);
    await one.ended;
    assert.equal((await api(`/requests/${one.id}`)).decisions.length, 1);
  },

  async an_approval_opens_only_behind_the_end_of_a_long_statement() {
    const page = await someone(first);
    const rows = Array.from({ length: 9000 }, (_, n) => `${n}, 'name of ${n}'`).join("), (");
    const sql = `DELETE FROM web_long WHERE id > 0 AND (id, name) NOT IN ((${rows}))`;
    assert.ok(sql.length > 200_000, `${sql.length}`);
    const one = await held(sql, "web_long");
    const start = Date.now();
    const answer = await page.goto(at(`/r/${one.id}`), { waitUntil: "commit" });
    const text = await answer.text();
    const took = Date.now() - start;
    console.log(`a card of 200 kB came in ${took} ms`);
    assert.ok(text.includes("name of 8999"), "the statement is cut");
    await page.getByText("Read the statement to its end").waitFor();
    assert.equal(await page.locator("#approve").isVisible(), false);
    await page.locator("[data-end]").scrollIntoViewIfNeeded();
    await page.locator("#approve").waitFor({ state: "visible" });
    const lines = await page.locator(".statement .line code").allTextContents();
    assert.equal(lines.join("").replaceAll(/\s/g, ""), sql.replaceAll(/\s/g, ""), "not the statement's own bytes");
    await deny(page, "too long to read");
    await one.ended;
  },

  async hostile_text_is_text() {
    const page = await someone(first);
    const name = "</code></script><script>window.pwned=1</script><img src=x onerror='window.pwned=2'>{{7*7}}";
    const sql = `DROP TABLE "web_hostile ${name}" -- \u202e\u200bafter \u0000`.replace("\u0000", "") + "\u{e0041}";
    const one = await held(sql, "web_hostile");
    for (const path of ["/", `/r/${one.id}`, `/r/${one.id}?raw=1`, "/log?kind=attempt", "/sessions"]) {
      await page.goto(at(path));
      assert.equal(await page.evaluate(() => window.pwned), undefined, path);
      const text = await page.evaluate(() => document.documentElement.innerText + document.title);
      assert.doesNotMatch(text, /[\u202a-\u202e\u200b\u2066-\u2069\u{e0041}]/u, path);
      assert.equal(await page.locator("main img, main script").count(), 0, path);
    }
    await page.goto(at(`/r/${one.id}`));
    const shown = await page.locator(".statement .line code").first().innerText();
    assert.ok(shown.includes(`"web_hostile ${name}"`), shown);
    assert.ok(shown.includes("⟦U+202E⟧⟦U+200B⟧"), shown);
    assert.equal(await page.locator(".statement .m-hidden").count(), 3);
    const direction = await page.locator(".statement code").first().evaluate((code) => getComputedStyle(code).unicodeBidi);
    assert.equal(direction, "isolate");
    await deny(page, "<b>no</b>\u202e");
    assert.match((await one.ended).errors, /<b>no<\/b>/);
  },

  async no_page_can_be_framed_and_no_other_site_can_decide() {
    const page = await someone(first);
    const one = await held("DROP TABLE web_framed", "web_framed");
    await page.context().route("http://other.example/**", (route) =>
      route.fulfill({
        contentType: "text/html",
        body: `<iframe src="${at(`/r/${one.id}`)}"></iframe>
          <form method="post" action="${at(`/r/${one.id}/decision`)}"><input name="decision" value="deny">
          <input name="reason" value="x"></form>`,
      }),
    );
    const before = breaches.length;
    await page.goto("http://other.example/");
    await page.waitForTimeout(300);
    assert.ok(!page.frames()[1] || !(await page.frames()[1].content()).includes("data-card"), "the card is in a frame");
    await page.evaluate(() => document.forms[0].submit());
    await page.waitForURL((url) => url.host !== "other.example");
    assert.equal(await state(one.id), "pending", "another site has decided");
    breaches.splice(before);
    await page.goto(at(`/r/${one.id}`));
    const status = await page.evaluate(async (path) => {
      const body = new URLSearchParams({ decision: "deny", reason: "x", _csrf: "wrong" });
      return (await fetch(path, { method: "POST", body })).status;
    }, `/r/${one.id}/decision`);
    assert.equal(status, 403);
    assert.equal(await state(one.id), "pending");
    const headers = (await page.goto(at(`/r/${one.id}`))).headers();
    assert.match(headers["content-security-policy"], /frame-ancestors 'none'.*require-trusted-types-for 'script'/);
    const wanted = {
      "cache-control": "no-store",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
    };
    for (const [name, value] of Object.entries(wanted)) assert.equal(headers[name], value, name);
    one.leave();
    await deny(page, "done");
  },

  async everything_is_decided_without_javascript() {
    const page = await someone(first, { javaScriptEnabled: false });
    const one = await held("DROP TABLE IF EXISTS web_plain", "web_plain");
    await page.goto(at("/"));
    await page.getByRole("link", { name: new RegExp(one.id) }).click();
    await page.locator("#approve > summary").click();
    const button = page.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ });
    await button.click();
    assert.equal(await state(one.id), "pending", "approved without the word that it was read");
    await page.getByLabel("I have read the whole statement").check();
    await sends(page, () => button.click());
    assert.equal((await one.ended).code, 0);
    const two = await held("DROP TABLE web_plain_denied", "web_plain_denied");
    await page.goto(at(`/r/${two.id}`));
    await page.locator("#deny > summary").click();
    await page.locator("#deny-reason").fill("not now");
    await sends(page, () => page.getByRole("button", { name: /^Deny [0-9A-Z]{6}$/ }).click());
    assert.match((await two.ended).errors, /not now/);
    await page.goto(at("/rules"));
    await page.getByLabel("Statement", { exact: true }).fill("DELETE FROM orders");
    await page.getByRole("button", { name: "Judge" }).click();
    await page.locator(".tried").getByText("hold", { exact: true }).waitFor();
    await page.getByText("no WHERE: it reaches every row").waitFor();
  },

  async keys_lead_to_the_forms_and_decide_nothing_alone() {
    const page = await someone(first);
    const one = await held("DROP TABLE IF EXISTS web_keys", "web_keys");
    await page.goto(at("/"));
    await page.getByRole("link", { name: new RegExp(one.id) }).waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    // The browser closes it in its own time, and keys are the dialog's until then.
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await page.keyboard.press("j");
    await page.waitForFunction(() => document.activeElement?.classList.contains("row-link"));
    await page.keyboard.press("Enter");
    await page.locator("[data-card]").waitFor();
    await page.locator("#approve").waitFor({ state: "visible" });
    await page.keyboard.press("a");
    await page.waitForFunction(() => document.activeElement?.id === "approve-reason");
    await page.waitForTimeout(200);
    assert.equal(await state(one.id), "pending", "a key alone has approved");
    await page.keyboard.type("a d j k");
    await sends(page, () => page.keyboard.press("Control+Enter"));
    assert.equal((await one.ended).code, 0);
    await page.goto(at("/settings"));
    await page.getByRole("radio", { name: "off" }).check();
    await sends(page, () => page.getByRole("button", { name: "Save" }).click());
    await page.keyboard.press("?");
    assert.equal(await page.getByRole("dialog").count(), 0, "keys are not off");
  },
};

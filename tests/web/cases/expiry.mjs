// What nobody decides in time: the agent is told, the page shows it, and nobody can approve it afterwards. The rule for
// `web_expiring` stands in the rules that tests/web.rs gives the demo.

import assert from "node:assert/strict";
import { WAIT_MS, api, at, first, held, someone, state } from "../browser.mjs";

export const cases = {
  async what_nobody_decides_expires_before_the_eyes_of_who_looks_at_it() {
    const one = await held("DROP TABLE web_expiring; SELECT 'not run'", "web_expiring");
    const page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await page.locator("#approve").waitFor({ state: "visible" });
    const form = await page.locator("#approve form").evaluate((form) => new URLSearchParams(new FormData(form)).toString());
    const ended = await one.ended;
    assert.match(ended.errors, /EXPIRED/i);
    assert.doesNotMatch(ended.out, /not run/);
    await page.getByText("expired", { exact: true }).first().waitFor({ timeout: WAIT_MS });
    await page.goto(at(`/r/${one.id}`));
    assert.equal(await page.locator("#approve").count(), 0, "an approval is still offered");
    // The form of somebody who had the card open.
    const answer = await page.evaluate(
      async ([path, body]) => {
        const headers = { "content-type": "application/x-www-form-urlencoded" };
        const sent = await fetch(path, { method: "POST", body, headers });
        return [sent.status, await sent.text()];
      },
      [`/r/${one.id}/decision`, form],
    );
    assert.equal(answer[0], 409, answer[1].slice(0, 300));
    assert.equal(await state(one.id), "expired");
    assert.deepEqual((await api(`/requests/${one.id}`)).decisions, []);
  },
};

// The rules' page: replaying changed rules over the log.

import assert from "node:assert/strict";
import { agent, api, at, faults, first, someone } from "../browser.mjs";

const DENY_READS = `[[rule]]
name = "no-reads"
class = ["read"]
outcome = "deny"

[[rule]]
name = "the-rest"
outcome = "allow"
`;

async function replay(page, rules) {
  await page.goto(at("/rules"));
  await page.getByLabel("Rules to try, in place of those in force").fill(rules);
  await page.getByLabel("Statements of the").selectOption("1d");
  await page.getByRole("button", { name: "Replay" }).click();
  await page.waitForURL(/\/rules\/replay/);
}

const part = (page) => page.getByRole("region", { name: "Replay changed rules" });

export const cases = {
  async changed_rules_are_replayed_over_the_log_and_change_nothing() {
    const ended = await agent("SELECT 'one' AS web_replayed;\nSELECT 'two' AS web_replayed;").ended;
    assert.equal(ended.code, 0, ended.errors);
    for (const options of [{}, { javaScriptEnabled: false }]) {
      const page = await someone(first, options);
      await replay(page, DENY_READS);
      const row = part(page).locator("ol li", { hasText: "web_replayed" });
      assert.equal(await row.count(), 1, "two statements of one shape are told apart");
      assert.match(await row.innerText(), /allow by \S+\s.*deny by no-reads/s);
      const count = Number(/^(\d+) ×/.exec(await row.innerText())[1]);
      assert.ok(count >= 2, `${count}`);
      assert.match(await part(page).innerText(), /\d+ change/);
    }
    const again = await agent("SELECT 'three' AS web_replayed").ended;
    assert.equal(again.code, 0, "the rules that were tried are in force");
    const { items } = await api(`/log?q=${encodeURIComponent("kind:log_query by:dba-1")}&limit=100`);
    assert.ok(items.some((item) => item.query === "replay since:1d"), "the look is not on record");
  },

  async rules_in_force_change_nothing_and_wrong_ones_are_named_by_line() {
    const page = await someone(first);
    await page.goto(at("/rules"));
    await page.getByRole("button", { name: "Replay" }).click();
    await page.waitForURL(/\/rules\/replay/);
    await part(page).getByText("none changes.").waitFor();
    const found = [];
    for (const width of [1280, 320]) {
      await page.setViewportSize({ width, height: 900 });
      found.push(...(await faults(page, `replayed ${width}`)));
    }
    assert.deepEqual(found, []);
    await replay(page, '[[rule]]\nname = "x"\nclass = ["red"]\noutcome = "allow"\n');
    assert.match(await page.getByRole("alert").innerText(), /the rules:3:10: unknown class `red`/);
    assert.match(await page.getByLabel("Rules to try, in place of those in force").inputValue(), /"red"/);
  },
};

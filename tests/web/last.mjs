// What is asked of every page there is, behind all cases: accessible, no wider than the screen, no breach of the policy.

import assert from "node:assert/strict";
import { LOOKS, api, at, breaches, deny, faults, first, held, someone } from "./browser.mjs";

/** Pages that are looked at besides those of the statements that wait; files of cases add theirs. */
export const paths = ["/sign-in", "/sessions", "/log", "/rules", "/grants?all=1", "/settings", "/status", "/nowhere"];

export const cases = {
  async every_page_is_accessible_in_light_and_dark_on_phone_and_desk() {
    const one = await held("UPDATE orders SET status = 'a' WHERE status LIKE '%b'", "'%b'");
    const hostile = await held('DROP TABLE "web_axe\u202e" /* x */', "web_axe");
    const record = (await api("/log?kind=attempt&limit=1")).items[0];
    const shown = ["/", "/?show=decided", `/r/${one.id}`, `/r/${hostile.id}`, `/sessions/${record.session}`, `/log/${record.id}`];
    const found = [];
    for (const look of LOOKS) {
      const page = await someone(first, look);
      for (const path of [...shown, ...paths]) {
        await page.goto(at(path));
        found.push(...(await faults(page, `${path} ${look.colorScheme} ${look.viewport.width}`)));
      }
      await page.context().close();
    }
    one.leave();
    hostile.leave();
    const page = await someone(first);
    for (const request of [one, hostile]) {
      await page.goto(at(`/r/${request.id}`));
      await deny(page, "done");
    }
    assert.deepEqual(found, []);
  },

  async no_page_has_broken_its_policy() {
    assert.deepEqual(breaches, []);
    const page = await someone(first);
    await page.goto(at("/status"));
    // The frame on the other site is refused by the policy, and browsers report that to nobody.
    assert.equal(await page.locator("[data-csp-reports]").innerText(), "0");
  },
};

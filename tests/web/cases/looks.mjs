// What is asked of every page there is: accessible, and no wider than the screen, in light and dark, on phone and desk.

import assert from "node:assert/strict";
import { agent, api, at, deny, faultsInEveryLook, first, held, someone } from "../browser.mjs";

const paths = [
  "/sign-in", "/password", "/sessions", "/log", "/log?q=clas%3Addl", "/log?q=class%3Aread&since=1d",
  "/log?q=text%3Anothing_says_this", "/rules", "/grants?all=1", "/settings", "/status", "/nowhere",
];

export const cases = {
  async every_page_is_accessible_in_light_and_dark_on_phone_and_desk() {
    await agent("SELECT 1 AS looked_at").ended;
    const one = await held("UPDATE orders SET status = 'a' WHERE status LIKE '%b'", "'%b'");
    const hostile = await held('DROP TABLE "web_axe\u202e" /* x */', "web_axe");
    const record = (await api("/log?kind=attempt&limit=1")).items[0];
    const shown = ["/", "/?show=decided", `/r/${one.id}`, `/r/${hostile.id}`, `/sessions/${record.session}`, `/log/${record.id}`];
    const found = [];
    const page = await someone(first);
    for (const path of [...shown, ...paths]) {
      await page.goto(at(path));
      found.push(...(await faultsInEveryLook(page, path)));
    }
    one.leave();
    hostile.leave();
    for (const request of [one, hostile]) {
      await page.goto(at(`/r/${request.id}`));
      await deny(page, "done");
    }
    assert.deepEqual(found, []);
  },
};

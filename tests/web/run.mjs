// Real Chromium on the pages of a running demo, with an agent beside it. Runs the files of cases that `cases` in the sheet
// names, one case after the other. Prints `ok NAME` or `not ok NAME` for each; ends with 1 if one failed, if one never came
// to its end, or if a page broke its policy.
//
//   node run.mjs [NAME…]                     these cases alone
//   COUNTERSIGN_SCREENSHOTS=FOLDER           writes the README's pictures there

import { join } from "node:path";
import assert from "node:assert/strict";
import { at, breaches, browser, contexts, first, held, sheet, someone } from "./browser.mjs";

/** A case that takes so long hangs: a guard, and no measure of speed. */
const CASE_MS = 300_000;

const cases = {};
for (const file of sheet.cases) Object.assign(cases, (await import(new URL(file, import.meta.url))).cases);

/** Behind all the others, for it counts what they met with. */
cases.no_page_has_broken_its_policy = async () => {
  assert.deepEqual(breaches, []);
  const page = await someone(first);
  await page.goto(at("/status"));
  // The frame on the other site is refused by the policy, and browsers report that to nobody.
  assert.equal(await page.locator("[data-csp-reports]").innerText(), "0");
};

function inTime(run) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not at its end after ${CASE_MS / 1000} s`)), CASE_MS);
  });
  return Promise.race([run(), late]).finally(() => clearTimeout(timer));
}

async function pictures(folder) {
  const column = await held("ALTER TABLE public.orders DROP COLUMN status CASCADE", "DROP COLUMN status");
  const rows = await held(
    "UPDATE public.orders SET status = 'shipped' WHERE customer_id IN (SELECT id FROM customers WHERE email LIKE '%@example.com') AND status = 'open' RETURNING id",
    "RETURNING id",
  );
  const out = await held("COPY (SELECT name, email FROM customers) TO STDOUT", "TO STDOUT");
  const page = await someone(first, { viewport: { width: 1100, height: 620 } });
  await page.locator("a.row-link").nth(2).waitFor();
  await page.screenshot({ path: join(folder, "queue.png") });
  await page.goto(at(`/r/${column.id}`));
  await page.locator("#approve").waitFor({ state: "visible" });
  await page.screenshot({ path: join(folder, "card.png") });
  const phone = await someone(first, { colorScheme: "dark", viewport: { width: 360, height: 720 } });
  await phone.goto(at(`/r/${rows.id}`));
  await phone.screenshot({ path: join(folder, "card-phone.png") });
  [column, rows, out].forEach((one) => one.leave());
}

const wanted = process.argv.slice(2);
let failed = false;
for (const [name, run] of Object.entries(cases)) {
  if (wanted.length > 0 && !wanted.some((word) => name.includes(word))) continue;
  const start = Date.now();
  try {
    await inTime(run);
    console.log(`ok ${name} (${Date.now() - start} ms)`);
  } catch (error) {
    failed = true;
    console.log(`not ok ${name}: ${error.stack ?? error}`);
  }
  await Promise.all(contexts.splice(0).map((context) => context.close()));
}
if (process.env.COUNTERSIGN_SCREENSHOTS) await pictures(process.env.COUNTERSIGN_SCREENSHOTS);
await browser.close();
process.exit(failed ? 1 : 0);

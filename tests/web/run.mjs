// Real Chromium on the pages of a running demo, with psql as the agent. Prints `ok NAME` or `not ok NAME` for each case;
// ends with 1 if one failed. The cases of each file in cases/ run in the order of the files' names, those of last.mjs behind
// them all. A file may export `paths`: further pages that last.mjs is to look at. `cases` in the sheet names one file
// instead, for a house that is no demo.
//
//   node run.mjs [NAME…]                     these cases alone
//   COUNTERSIGN_SCREENSHOTS=FOLDER           writes the README's pictures there

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { at, browser, contexts, first, held, sheet, someone } from "./browser.mjs";
import { cases as last, paths } from "./last.mjs";

const cases = {};
const ofTheDemo = () => readdirSync(new URL("cases/", import.meta.url)).sort().map((file) => `cases/${file}`);
for (const file of sheet.cases ? [sheet.cases] : ofTheDemo()) {
  const part = await import(new URL(file, import.meta.url));
  Object.assign(cases, part.cases);
  paths.push(...(part.paths ?? []));
}
if (!sheet.cases) Object.assign(cases, last);

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
    await run();
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

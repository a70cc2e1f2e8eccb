// postgres.js with its defaults, save for one connection instead of ten: named statements, pipelining.
import { createRequire } from "node:module";
import readline from "node:readline";
import { inspect } from "node:util";

// The drivers are installed under target/, which only `require` can be pointed to (NODE_PATH).
const postgres = createRequire(import.meta.url)("postgres");
const [url, mode, argument] = process.argv.slice(2);
const sql = postgres(url, { max: 1 });

async function read() {
  let rows = [...(await sql`SELECT id, status, placed_at, note FROM orders ORDER BY id LIMIT 5`)];
  rows = rows.concat(await sql`SELECT name, preferences FROM customers WHERE id = ${7}`);
  rows = rows.concat(await sql`SELECT name FROM countries WHERE code = ANY(${["DE", "FR"]})`);
  const several = await Promise.all([1, 2, 3].map((id) => sql`SELECT price_cents FROM products WHERE id = ${id}`));
  for (const result of several) rows = rows.concat(result);
  await sql`SELECT id FROM suppliers ORDER BY id LIMIT 10`.cursor(4, (page) => {
    rows = rows.concat(page);
  });
  console.log("rows", rows.length);
}

async function cancelWhenTold(query) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === "cancel") break;
  }
  query.cancel();
}

async function runOne() {
  const query = mode === "delete"
    ? sql`DELETE FROM ${sql(argument)} WHERE n > ${3} RETURNING n`
    : sql.unsafe(argument);
  if (mode === "cancel") cancelWhenTold(query);
  try {
    const rows = await query;
    console.log(mode === "delete" ? `rows ${rows.length}` : "ok");
  } catch (error) {
    console.log("error", error.code, error.message.split("\n")[0]);
    console.log("shown", JSON.stringify(inspect(error)));
  }
  console.log("after", (await sql`SELECT 1 AS one`)[0].one);
}

await (mode === "read" ? read() : runOne());
await sql.end();
process.exit();

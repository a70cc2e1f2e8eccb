// node-postgres with its defaults: simple protocol without values, unnamed statements with them.
"use strict";
const { Client } = require("pg");
const readline = require("node:readline");
const { inspect } = require("node:util");

const [url, mode, argument] = process.argv.slice(2);

function report(error) {
  console.log("error", error.code, error.message.split("\n")[0]);
  console.log("shown", JSON.stringify(inspect(error)));
}

async function read(client) {
  let rows = (await client.query("SELECT id, status, placed_at, note FROM orders ORDER BY id LIMIT 5")).rows;
  rows = rows.concat((await client.query("SELECT name, preferences FROM customers WHERE id = $1", [7])).rows);
  rows = rows.concat((await client.query("SELECT name FROM countries WHERE code = ANY($1)", [["DE", "FR"]])).rows);
  const named = { name: "price", text: "SELECT price_cents FROM products WHERE id = $1" };
  for (let product = 1; product < 4; product += 1) {
    rows = rows.concat((await client.query({ ...named, values: [product] })).rows);
  }
  console.log("rows", rows.length);
}

// node-postgres has no cancel of its own worth the name; its users (knex among them) call pg_cancel_backend elsewhere.
async function cancelWhenTold(client) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === "cancel") break;
  }
  const other = new Client({ connectionString: url });
  await other.connect();
  await other.query("SELECT pg_cancel_backend($1)", [client.processID]);
  await other.end();
}

async function main() {
  const client = new Client({ connectionString: url });
  await client.connect();
  if (mode === "read") {
    await read(client);
  } else {
    if (mode === "cancel") cancelWhenTold(client).catch((error) => console.log("cancel failed:", error.message));
    try {
      if (mode === "delete") {
        const text = `DELETE FROM ${argument} WHERE n > $1 RETURNING n`;
        console.log("rows", (await client.query(text, [3])).rows.length);
      } else {
        await client.query(argument);
        console.log("ok");
      }
    } catch (error) {
      report(error);
    }
    console.log("after", (await client.query("SELECT 1 AS one")).rows[0].one);
  }
  await client.end();
  process.exit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

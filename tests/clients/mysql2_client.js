// mysql2 with its defaults: query() in text, execute() prepared and binary, autocommit on.
"use strict";
const mysql = require("mysql2/promise");
const readline = require("node:readline");
const { inspect } = require("node:util");

const [url, mode, argument] = process.argv.slice(2);

function report(error) {
  console.log("error", error.errno, error.message.split("\n")[0]);
  console.log("shown", JSON.stringify(inspect(error)));
}

async function read(client) {
  let [rows] = await client.query("SELECT id, status, total, placed_at, note FROM orders ORDER BY id LIMIT 5");
  rows = rows.concat((await client.query("SELECT name FROM customers WHERE id = ?", [7]))[0]);
  rows = rows.concat((await client.query("SELECT name FROM countries WHERE code IN (?)", [["DE", "FR"]]))[0]);
  for (let order = 1; order < 4; order += 1) {
    rows = rows.concat((await client.execute("SELECT id, note FROM orders WHERE id = ?", [order]))[0]);
  }
  // Several at once wait in the driver's own queue.
  const queued = await Promise.all([1, 2, 3].map((n) => client.query("SELECT ? AS n", [n])));
  rows = rows.concat(queued.flatMap(([found]) => found));
  await client.ping();
  console.log("rows", rows.length);
}

// mysql2 has no cancel of its own; its users (knex among them) call KILL QUERY elsewhere.
async function cancelWhenTold(client) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === "cancel") break;
  }
  const other = await mysql.createConnection(url);
  await other.query(`KILL QUERY ${client.threadId}`);
  await other.end();
}

async function transaction(client, table) {
  await client.beginTransaction();
  await client.query(`INSERT INTO ${table} (n) VALUES (6)`);
  await client.query(`DROP TABLE ${table}_gone`).then(() => console.log("ok"), report);
  console.log("inside", (await client.query(`SELECT COUNT(*) AS n FROM ${table}`))[0][0].n);
  await client.rollback();
}

async function main() {
  const client = await mysql.createConnection(url);
  if (mode === "read") {
    await read(client);
  } else {
    if (mode === "cancel") cancelWhenTold(client).catch((error) => console.log("cancel failed:", error.message));
    try {
      if (mode === "delete") {
        const [done] = await client.execute(`DELETE FROM ${argument} WHERE n > ?`, [3]);
        console.log("rows", done.affectedRows);
      } else if (mode === "transaction") {
        await transaction(client, argument);
      } else {
        await client.query(argument);
        console.log("ok");
      }
    } catch (error) {
      report(error);
    }
    console.log("after", (await client.query("SELECT 1 AS one"))[0][0].one);
  }
  await client.end();
  process.exit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

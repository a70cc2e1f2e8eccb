// knex with its defaults: a pool of node-postgres connections, which give up after 60 s of waiting for one.
"use strict";
const knex = require("knex");
const { inspect } = require("node:util");

const [url, mode, argument] = process.argv.slice(2);

async function main() {
  const database = knex({ client: "pg", connection: url, pool: { min: 1, max: 1 } });
  try {
    if (mode === "delete") {
      console.log("rows", (await database(argument).where("n", ">", 3).delete(["n"])).length);
    } else {
      await database.raw(argument);
      console.log("ok");
    }
  } catch (error) {
    console.log("error", error.code, error.message.split("\n")[0]);
    console.log("shown", JSON.stringify(inspect(error)));
  }
  console.log("after", (await database.raw("SELECT 1 AS one")).rows[0].one);
  process.exit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

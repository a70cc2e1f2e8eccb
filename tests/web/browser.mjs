// What every case has: a browser of somebody, the agent with psql, the API, and what axe and the layout say of a page.
// What it needs comes in COUNTERSIGN_SHEET, as `countersign demo --json` prints it.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";

// The drivers are installed apart from this folder.
const require = createRequire(join(process.env.COUNTERSIGN_NODE_MODULES, "x.js"));
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

export const sheet = JSON.parse(process.env.COUNTERSIGN_SHEET);
export const [first, second] = sheet.log_ins;
/** How long anything is waited for on a busy machine: a guard, and no measure of speed. */
export const WAIT_MS = 60_000;

export const browser = await chromium.launch({
  executablePath: process.env.COUNTERSIGN_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});

/** Breaches of the policy, and errors of scripts, on any page of any case. */
export const breaches = [];
export const contexts = [];

/** A browser of somebody who is signed in, unless they are nobody. */
export async function someone(logIn, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(WAIT_MS);
  contexts.push(context);
  const page = await context.newPage();
  page.on("console", (message) => {
    if (/content security policy|trusted ?types?|refused to/i.test(message.text())) breaches.push(message.text());
  });
  page.on("pageerror", (error) => breaches.push(String(error)));
  if (logIn) {
    await page.goto(sheet.web_url);
    await page.getByLabel("Token").fill(logIn.token);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByRole("heading", { name: "Queue" }).waitFor();
  }
  return page;
}

export const at = (path) => new URL(path, sheet.web_url).href;

export async function api(path, logIn = first) {
  const answer = await fetch(new URL(`/api/v1${path}`, sheet.api_url), {
    headers: { authorization: `Bearer ${logIn.token}` },
  });
  assert.equal(answer.status, 200, path);
  return answer.json();
}

/** The agent: sends a statement and waits. */
export function agent(sql) {
  const folder = mkdtempSync(join(tmpdir(), "countersign-web-"));
  const file = join(folder, "statement.sql");
  writeFileSync(file, sql);
  const child = spawn("psql", [sheet.postgres_url, "-X", "-At", "-v", "ON_ERROR_STOP=1", "-f", file]);
  let out = "";
  let errors = "";
  child.stdout.on("data", (text) => (out += text));
  child.stderr.on("data", (text) => (errors += text));
  const ended = new Promise((done) => child.on("close", (code) => done({ code, out, errors })));
  ended.then(() => rmSync(folder, { recursive: true }));
  return { ended, leave: () => child.kill() };
}

/** The statement once it is held. `mark` is in no other statement. */
export async function held(sql, mark) {
  const waits = agent(sql);
  const until = Date.now() + WAIT_MS;
  while (Date.now() < until) {
    const { items } = await api("/requests?state=pending");
    const found = items.find((item) => (item.text ?? "").includes(mark));
    // Estimated first, so that no news of it loads a page again while a case goes on.
    if (found?.impact.status === "done") return { ...waits, id: found.id, text: found.text };
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`not held: ${(await waits.ended).errors}`);
}

export const state = async (id) => (await api(`/requests/${id}`)).state;

/** Does what sends a form, and waits for the page that answers: going elsewhere before it is there would be interrupted by it. */
export async function sends(page, act) {
  const answered = page.waitForEvent("domcontentloaded");
  await act();
  await answered;
}

export async function approve(page) {
  await page.getByText("Approve…", { exact: true }).locator("visible=true").first().click();
  await sends(page, () => page.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ }).click());
}

export async function deny(page, reason) {
  await page.getByText("Deny…", { exact: true }).locator("visible=true").first().click();
  await page.locator("#deny-reason").fill(reason);
  await sends(page, () => page.getByRole("button", { name: /^Deny [0-9A-Z]{6}$/ }).click());
}

/** Runs the program beside the demo's store, as on its own machine; gives what it prints. */
export function command(args, input = "") {
  const child = spawn(sheet.program, [...args, "--data-dir", sheet.data_dir], { env: { PATH: process.env.PATH } });
  let out = "";
  let errors = "";
  child.stdout.on("data", (text) => (out += text));
  child.stderr.on("data", (text) => (errors += text));
  child.stdin.end(input);
  return new Promise((done, failed) =>
    child.on("close", (code) => (code === 0 ? done(out.trim()) : failed(new Error(`${args.join(" ")}: ${errors}`)))),
  );
}

/** What people sign in by was enrolled two days earlier: in the store's own file, beside the program. */
export async function ofTwoDaysAgo(table) {
  const path = JSON.stringify(`${sheet.data_dir}/store.sqlite3`);
  const script = `import sqlite3; c = sqlite3.connect(${path}, timeout=20); c.execute("UPDATE ${table} SET made_at = made_at - 172800000000"); c.commit()`;
  const child = spawn("python3", ["-c", script], { stdio: "inherit" });
  const code = await new Promise((done) => child.on("close", done));
  if (code !== 0) throw new Error("the store was not changed");
}

/** Somebody new, who has a token that nobody else has seen. */
export async function newcomer(person, ...roles) {
  await command(["user", "add", person, ...roles.flatMap((role) => ["--role", role])]);
  return { person, token: await command(["user", "token", person]) };
}

const STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** What axe and the layout find wrong with the page in every look, without loading it again. */
export async function faultsInEveryLook(page, place) {
  const found = [];
  for (const width of [1280, 320]) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      found.push(...(await faults(page, `${place} ${colorScheme} ${width}`)));
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1280, height: 900 });
  return found;
}

/** What axe and the layout find wrong with the page as it is shown now. */
export async function faults(page, place) {
  const found = [];
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (wide > 0) found.push(`${place}: ${wide} px too wide`);
  const { violations } = await new AxeBuilder({ page }).withTags(STANDARDS).analyze();
  for (const { id, nodes } of violations) {
    found.push(`${place}: ${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
  }
  return found;
}

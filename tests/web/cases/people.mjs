// What people sign in by, and the second factor on the very form: authenticator app, passkeys, passwords, one-time codes.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { at, api, command, faultsInEveryLook, held, newcomer, ofTwoDaysAgo, someone, state } from "../browser.mjs";

/** An authenticator app, as RFC 6238 has it. A code counts once, so each is of a later step than the one before. */
class App {
  constructor(secret) {
    const letters = secret.replaceAll(/\s/g, "");
    const bits = [...letters].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0"));
    const bytes = bits.join("").match(/.{8}/g).map((byte) => parseInt(byte, 2));
    this.secret = Buffer.from(bytes);
    this.step = 0;
  }

  async code() {
    const now = () => Math.floor(Date.now() / 30_000);
    this.step = Math.max(this.step + 1, now() - 1);
    while (this.step > now() + 1) await new Promise((done) => setTimeout(done, 200));
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(this.step));
    const hash = createHmac("sha1", this.secret).update(counter).digest();
    const number = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
    return String(number % 1_000_000).padStart(6, "0");
  }
}

async function byPassword(page, { person, password }, code) {
  await page.goto(at("/sign-in"));
  await page.getByLabel("Name", { exact: true }).fill(person);
  await page.getByLabel("Password", { exact: true }).fill(password);
  if (code) await page.getByLabel("Code of your authenticator app").fill(code);
  await page.getByRole("button", { name: "Continue" }).click();
}

async function signOut(page) {
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in", exact: true }).waitFor();
}

async function byToken(page, { token }) {
  await page.goto(at("/sign-in"));
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("heading", { name: "Queue" }).waitFor();
}

async function enrol(page) {
  await page.goto(at("/settings"));
  await page.getByRole("button", { name: "Enrol an authenticator app" }).click();
  return new App(await page.locator(".secret").innerText());
}

export const cases = {
  async an_authenticator_app_is_enrolled_asked_for_and_removed() {
    const pat = { ...(await newcomer("pat", "approver")), password: "correct horse battery" };
    await command(["user", "passwd", "pat", "--stdin"], `${pat.password}\n`);
    const page = await someone(null);
    await byPassword(page, pat);
    await page.getByRole("heading", { name: "Queue" }).waitFor();
    const app = await enrol(page);
    const found = await faultsInEveryLook(page, "enrolment");
    const squares = await page.locator(".qr .qr-ink").getAttribute("d");
    assert.ok(squares.split("z").length > 200, "no QR code");
    assert.match(await page.getByRole("link", { name: "Open in an app" }).getAttribute("href"), /^otpauth:\/\/totp\//);
    await page.getByLabel("Code that the app shows now").fill("000000");
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.getByRole("alert").getByText("not the code that the app shows now").waitFor();
    assert.equal(await page.locator(".secret").count(), 0, "the secret is shown twice");
    await page.getByLabel("Code that the app shows now").fill(await app.code());
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.getByRole("heading", { name: "Recovery codes" }).waitFor();
    const codes = await page.locator(".codes .secret").allInnerTexts();
    assert.equal(new Set(codes).size, 10);
    found.push(...(await faultsInEveryLook(page, "recovery codes")));
    await page.getByRole("link", { name: "I have kept them" }).click();
    await page.getByText("enrolled; 10 recovery codes are left").waitFor();

    // From now on a password needs a code, and the settings ask for one.
    await signOut(page);
    await byPassword(page, pat);
    await page.getByRole("alert").getByText("authenticator app is needed").waitFor();
    assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "pat");
    await byPassword(page, pat, await app.code());
    await page.getByRole("heading", { name: "Queue" }).waitFor();
    await signOut(page);
    await byToken(page, pat);
    await page.goto(at("/settings"));
    assert.equal(await page.getByRole("button", { name: "Remove the app" }).count(), 0, "removed without a code");
    found.push(...(await faultsInEveryLook(page, "settings that ask for a code")));
    await page.getByLabel("Code of your authenticator app").fill(codes[0]);
    await page.keyboard.press("Enter");
    await page.getByText("enrolled; 9 recovery codes are left").waitFor();
    found.push(...(await faultsInEveryLook(page, "settings with an app")));
    await page.getByRole("button", { name: "Remove the app" }).click();
    await page.getByRole("button", { name: "Enrol an authenticator app" }).waitFor();
    assert.deepEqual(found, []);
  },

  async a_risky_approval_asks_for_the_code_on_the_form_without_javascript() {
    const una = await newcomer("una", "approver");
    const page = await someone(null, { javaScriptEnabled: false });
    await byToken(page, una);
    const app = await enrol(page);
    await page.getByLabel("Code that the app shows now").fill(await app.code());
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.getByRole("heading", { name: "Recovery codes" }).waitFor();
    await signOut(page);
    await byToken(page, una);
    const one = await held("DROP TABLE IF EXISTS web_stepped", "web_stepped");
    await page.goto(at(`/r/${one.id}`));
    await page.locator("#approve > summary").click();
    await page.locator("#approve-reason").fill("agreed in the review");
    await page.getByLabel("I have read the whole statement").check();
    await page.locator("#approve-code").fill("123456");
    await page.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ }).click();
    await page.getByRole("alert").getByText("the code is wrong").waitFor();
    assert.equal(await state(one.id), "pending");
    // The same form again, open, with what was typed.
    assert.equal(await page.locator("#approve-reason").inputValue(), "agreed in the review");
    assert.ok(await page.getByLabel("I have read the whole statement").isChecked());
    // Codes are guessed at a pace: the next counts a second later.
    await page.waitForTimeout(1500);
    await page.locator("#approve-code").fill(await app.code());
    await page.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ }).click();
    assert.equal((await one.ended).code, 0);
    const [said] = (await api(`/requests/${one.id}`)).decisions;
    assert.deepEqual([said.by, said.reason, said.channel], ["una", "agreed in the review", "web"]);
  },

  async a_passkey_is_added_signs_in_and_confirms_on_the_form() {
    const kim = await newcomer("kim", "approver", "break_glass");
    const page = await someone(null);
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("WebAuthn.enable");
    const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true };
    const key = { ...options, isUserVerified: true, automaticPresenceSimulation: true };
    await devtools.send("WebAuthn.addVirtualAuthenticator", { options: key });
    await byToken(page, kim);
    await page.goto(at("/settings"));
    await page.getByLabel("Name of the new one").fill("phone");
    await page.getByRole("button", { name: "Add a passkey" }).click();
    await page.locator(".passkeys").getByText("phone").waitFor();
    const found = await faultsInEveryLook(page, "settings with a passkey");
    await signOut(page);

    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.getByRole("heading", { name: "Queue" }).waitFor();
    await page.goto(at("/settings"));
    assert.match(await page.locator("main").innerText(), /signed in by\s+passkey/);
    await signOut(page);

    // By token alone nobody approves what is risky: the form asks for the passkey and goes on, with keys alone.
    await byToken(page, kim);
    const one = await held("DROP TABLE IF EXISTS web_keyed", "web_keyed");
    await page.goto(at(`/r/${one.id}`));
    await page.locator("#approve").waitFor({ state: "visible" });
    await page.keyboard.press("a");
    await page.waitForFunction(() => document.activeElement?.id === "approve-reason");
    found.push(...(await faultsInEveryLook(page, "card that asks for a passkey")));
    await page.locator("#approve-reason").focus();
    await page.keyboard.press("Control+Enter");
    assert.equal((await one.ended).code, 0);

    // Breaking glass takes it too, as the second log-in; one that was added a moment ago is none.
    const two = await held("DROP TABLE IF EXISTS web_glass", "web_glass");
    await page.goto(at(`/r/${two.id}`));
    await page.getByText("You cannot break glass").waitFor();
    await ofTwoDaysAgo("passkeys");
    await signOut(page);
    await byToken(page, kim);
    await page.goto(at(`/r/${two.id}`));
    await page.locator("#break-glass > summary").click();
    found.push(...(await faultsInEveryLook(page, "card that asks for a second log-in")));
    await page.locator("#glass-reason").fill("nobody else is awake");
    await page.locator("#break-glass").getByLabel("I have read the whole statement").check();
    await page.getByRole("button", { name: /^Break glass and approve/ }).press("Enter");
    assert.equal((await two.ended).code, 0);
    const [said] = (await api(`/requests/${two.id}`)).decisions;
    assert.deepEqual([said.by, said.break_glass, said.channel], ["kim", true, "web"]);
    await page.goto(at("/settings"));
    await page.getByRole("button", { name: "Remove the passkey phone" }).click();
    await page.getByText("none. A passkey signs in alone").waitFor();
    assert.deepEqual(found, []);
  },

  async a_password_is_set_by_a_one_time_code_and_changed() {
    await newcomer("lee", "auditor");
    const code = await command(["user", "passwd", "lee", "--link"]);
    const page = await someone(null);
    await page.goto(at(`/password#${code}`));
    assert.equal(await page.getByLabel("One-time code").inputValue(), code);
    assert.doesNotMatch(page.url(), /#/, "the code stays in the address");
    const set = async (password, again) => {
      await page.getByLabel("New password").fill(password);
      await page.getByLabel("The same once more").fill(again);
      await page.getByRole("button", { name: "Set password" }).click();
    };
    await set("a long enough one", "another long one");
    await page.getByRole("alert").getByText("not typed the same twice").waitFor();
    await page.getByLabel("One-time code").fill(code);
    await set("a long enough one", "a long enough one");
    await page.getByText("Your password is set").waitFor();
    await page.goto(at("/password"));
    await page.getByLabel("One-time code").fill(code);
    await set("a long enough two", "a long enough two");
    await page.getByRole("alert").getByText("unknown, over or was used").waitFor();

    await byPassword(page, { person: "lee", password: "a long enough one" });
    await page.getByRole("heading", { name: "Queue" }).waitFor();
    const change = async (old) => {
      await page.goto(at("/settings"));
      await page.getByText("Change it").click();
      await page.getByLabel("Password that counts now").fill(old);
      await page.getByLabel("New password").fill("a still longer one");
      await page.getByLabel("The same once more").fill("a still longer one");
      await page.getByRole("button", { name: "Change password" }).click();
    };
    await change("not the old one");
    await page.getByRole("alert").getByText("Not done").waitFor();
    await page.waitForTimeout(1000);
    await change("a long enough one");
    await page.getByText("Your password is set").waitFor();
    await byPassword(page, { person: "lee", password: "a still longer one" });
    await page.getByRole("heading", { name: "Queue" }).waitFor();
  },

  async an_administrator_hands_over_a_one_time_code() {
    const root = await newcomer("root", "admin");
    await newcomer("mia", "approver");
    const page = await someone(root);
    await page.goto(at("/settings"));
    await page.getByRole("button", { name: "Make a one-time code for the password of mia" }).click();
    await page.getByRole("alert").getByText("One-time code for mia").waitFor();
    const path = await page.getByRole("link", { name: "this link" }).getAttribute("href");
    const mia = await someone(null);
    await mia.goto(at(path));
    await mia.getByLabel("New password").fill("seen by root, set by mia");
    await mia.getByLabel("The same once more").fill("seen by root, set by mia");
    await mia.getByRole("button", { name: "Set password" }).click();
    await mia.getByText("Your password is set").waitFor();
  },
};

// Values of labelled columns on the pages: absent from every source until they are asked for, and from every other person's
// and every later page. In a house of its own, because the demo labels nothing; tests/web.rs holds the statements.

import assert from "node:assert/strict";
import { api, approve, at, breaches, deny, faultsInEveryLook, first, second, sheet, someone } from "./browser.mjs";

const [keyed, plain, contested] = sheet.withheld;

/** Fails if a value stands in the page, or in the answer that it was made of. */
async function isAbsent(page, answer) {
  for (const source of [await page.content(), answer ? await answer.text() : ""]) {
    for (const { value } of sheet.withheld) assert.ok(!source.includes(value), `${page.url()} has ${value}`);
  }
}

/** Opens a card that shows no value. */
async function openCard(page, one) {
  await isAbsent(page, await page.goto(at(`/r/${one.id}`)));
  assert.match(await parameters(page), /redacted \(pii\)/);
}

const parameters = (page) => page.locator("section", { has: page.locator("#parameters-title") }).innerText();

async function mayNotApprove(page) {
  for (const form of ["#approve", ".bar [data-open=approve]"]) assert.equal(await page.locator(form).count(), 0, form);
  await page.getByText("You can deny this, but not approve it: values of it are withheld").waitFor();
}

/** Goes to the button by Tab alone, and presses it. */
async function revealByKeys(page) {
  for (let presses = 0; presses < 80; presses++) {
    await page.keyboard.press("Tab");
    if ((await page.locator("button:focus").allInnerTexts()).includes("Show withheld values")) {
      await page.keyboard.press("Enter");
      await page.getByText("That you were shown them is in the log").waitFor();
      return;
    }
  }
  assert.fail("no number of Tabs leads to the button");
}

/** Who was shown the values of a request, by the log. */
async function shownTo({ id }) {
  const { items } = await api(`/log?q=${encodeURIComponent(`event:revealed request:${id}`)}`);
  return items.map((item) => item.by);
}

export const cases = {
  async a_withheld_value_is_shown_when_asked_for_by_keys_and_then_it_can_be_approved() {
    const page = await someone(first);
    await openCard(page, keyed);
    await mayNotApprove(page);
    const found = await faultsInEveryLook(page, "withheld");
    assert.deepEqual(await shownTo(keyed), []);

    await revealByKeys(page);
    assert.ok((await parameters(page)).includes(keyed.value));
    assert.equal(await page.getByRole("button", { name: "Show withheld values" }).count(), 0);
    assert.deepEqual(await shownTo(keyed), [first.person]);
    await page.locator("#approve").waitFor({ state: "visible" });
    found.push(...(await faultsInEveryLook(page, "shown")));

    // Another person sees none of it, nor does whoever is sent the address.
    const other = await someone(second);
    await openCard(other, keyed);
    await mayNotApprove(other);
    await isAbsent(other, await other.goto(at(`/r/${keyed.id}/reveal`)));
    assert.equal(other.url(), at(`/r/${keyed.id}`));

    await approve(page);
    await page.getByText("finished", { exact: true }).first().waitFor();
    assert.equal(page.url(), at(`/r/${keyed.id}`));
    await openCard(page, keyed);
    assert.equal(await page.getByRole("button", { name: "Show withheld values" }).count(), 0);
    assert.deepEqual(found, []);
  },

  async a_withheld_value_is_shown_and_approved_by_keys_without_javascript() {
    const page = await someone(first, { javaScriptEnabled: false });
    await openCard(page, plain);
    await mayNotApprove(page);
    await revealByKeys(page);
    assert.ok((await parameters(page)).includes(plain.value));
    await page.locator("#approve > summary").click();
    await page.getByLabel("I have read the whole statement").check();
    await page.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ }).click();
    await page.waitForURL(at(`/r/${plain.id}`));
    await isAbsent(page);
    await openCard(page, plain);
    assert.equal(await page.locator("#approve").count(), 0);
  },

  async a_value_that_is_shown_goes_when_somebody_else_decides() {
    const page = await someone(first);
    await openCard(page, contested);
    await page.locator('[data-live][data-state="live"]').waitFor();
    await page.getByRole("button", { name: "Show withheld values" }).click();
    await page.locator('[data-revealed]').waitFor();
    assert.ok((await parameters(page)).includes(contested.value));
    await page.locator('[data-live][data-state="live"]').waitFor();
    // A denial needs no look.
    const other = await someone(second);
    await openCard(other, contested);
    await deny(other, "not this one");
    await page.waitForURL(at(`/r/${contested.id}`));
    await page.getByText("denied", { exact: true }).first().waitFor();
    await isAbsent(page);
    assert.deepEqual(await shownTo(contested), [first.person], "the page asked for the values again by itself");
  },

  async the_logs_pages_and_sessions_show_that_a_value_was_withheld_and_never_the_value() {
    const { items } = await api(`/log?q=${encodeURIComponent("kind:attempt text:keyed")}`);
    const page = await someone(first);
    for (const path of [`/log/${items[0].id}`, "/log?q=text%3Akeyed", `/sessions/${items[0].session}`, "/?show=decided"]) {
      await isAbsent(page, await page.goto(at(path)));
    }
    await page.goto(at(`/log/${items[0].id}`));
    const fields = page.locator("section", { has: page.locator("#fields-title") });
    assert.match(await fields.innerText(), /"redacted":\["pii"\]/);
  },

  async the_status_page_names_a_labelled_column_that_there_is_not() {
    const page = await someone(first);
    await page.goto(at("/status"));
    const labels = page.locator("dl.facts > div", { has: page.locator("dt", { hasText: /^labels$/ }) });
    assert.match(await labels.innerText(), /no database read so far has \(shop\), .* not withheld: the column `snn` of `public\.persons`$/);
    assert.equal(await page.locator("[data-csp-reports]").innerText(), "0");
    assert.deepEqual(breaches, []);
  },
};

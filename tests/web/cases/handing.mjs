// What a person does with a request besides deciding it once: why they cannot, runs, handing it on, ending its session.

import assert from "node:assert/strict";
import { api, at, command, deny, first, held, newcomer, second, someone, state } from "../browser.mjs";

const open = (page, name) => page.locator(`#${name} > summary`).click();

export const cases = {
  async whoever_cannot_decide_reads_why_instead_of_a_form() {
    // The agent's owner, who is a reviewer too.
    await command(["user", "add", "sam", "--role", "approver"]);
    const sam = { person: "sam", token: await command(["user", "token", "sam"]) };
    const one = await held("DROP TABLE web_owned", "web_owned");
    const page = await someone(sam);
    assert.equal(await page.locator("[data-mine-count]").innerText(), "0");
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("You cannot decide this: `sam` owns the agent").waitFor();
    for (const form of ["#approve", "#deny", "#delegate", "#question", ".bar"]) {
      assert.equal(await page.locator(form).count(), 0, form);
    }
    const reviewer = await someone(first);
    assert.ok(Number(await reviewer.locator("[data-mine-count]").innerText()) > 0);
    await reviewer.goto(at(`/r/${one.id}`));
    await deny(reviewer, "not needed");
    await one.ended;
  },

  async the_sessions_other_statements_are_shown_to_those_alone_whom_the_log_answers() {
    const ned = await newcomer("ned", "approver");
    const one = await held("SELECT 'web_private_word';\nDROP TABLE web_words", "web_words");
    const texts = [];
    for (const logIn of [ned, first]) {
      const page = await someone(logIn);
      await page.goto(at(`/r/${one.id}`));
      const before = page.locator("section", { has: page.locator("#before-title") });
      assert.match(await before.innerText(), /allow\s+read/i);
      texts.push(await page.locator("main").innerText());
    }
    assert.doesNotMatch(texts[0], /web_private_word/);
    assert.match(texts[1], /web_private_word/);
    const page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await deny(page, "done");
    await one.ended;
  },

  async a_migration_is_approved_as_a_run() {
    const script = ["CREATE TABLE web_run (id int)", "ALTER TABLE web_run ADD COLUMN name text", "DROP TABLE web_run"];
    const one = await held(script.join(";\n"), "CREATE TABLE web_run");
    const page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await page.locator("#approve").waitFor({ state: "visible" });
    await open(page, "approve");
    await page.getByLabel("a run: further statements of this session").check();
    assert.equal(await page.getByLabel("on the tables").inputValue(), "web_run");
    assert.ok(await page.getByLabel("ddl").isChecked());
    assert.equal(await page.getByLabel("that do").inputValue(), "create table");
    await page.getByLabel("that do").fill("create table, alter table, drop table");
    await page.locator('[name="run_statements"]').fill("3");
    await page.getByRole("button", { name: /^Approve [0-9A-Z]{6}$/ }).click();
    await page.getByText("finished", { exact: true }).waitFor();
    const ended = await one.ended;
    assert.equal(ended.code, 0, ended.errors);
    const decided = await api(`/requests/${one.id}`);
    const [{ scope }] = decided.decisions;
    assert.deepEqual([scope.kind, scope.for, scope.classes, scope.tables], ["run", "session", ["ddl"], ["web_run"]]);
    const { items } = await api(`/requests?grant=${decided.standing_grant}`);
    assert.equal(items.length, 2, "two statements ran without asking");
  },

  async a_request_is_handed_to_the_next_group() {
    const one = await held("DELETE FROM web_handed", "web_handed");
    const page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await open(page, "escalate");
    await page.locator("#escalate").getByText("leads").waitFor();
    await page.getByLabel("Reason for those who decide next").fill("not mine to say");
    await page.keyboard.press("Enter");
    await page.getByText("You can deny this, but not approve it").waitFor();
    assert.equal(await page.locator("#approve").count(), 0);
    assert.equal(await page.locator("#escalate").count(), 0, "escalated twice");
    const escalated = await api(`/requests/${one.id}`);
    assert.deepEqual(escalated.requirement.map((need) => need.group), ["leads"]);
    await deny(page, "nor theirs");
    await one.ended;
  },

  async a_request_is_delegated_to_a_named_person() {
    const one = await held("DELETE FROM web_handed WHERE id > 0", "id > 0");
    const page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await open(page, "delegate");
    const names = await page.locator("#delegate-to").locator("option").allInnerTexts();
    assert.ok(names.includes("dba-2") && !names.includes("dba-1") && !names.includes("auditor"), `${names}`);
    await page.locator("#delegate-to").selectOption("dba-2");
    await page.getByLabel("Reason for that person").fill("knows the table");
    await page.getByRole("button", { name: /^Delegate / }).click();
    await page.getByText("`dba-1` has delegated it to `dba-2`").waitFor();
    assert.deepEqual((await api(`/requests/${one.id}`)).delegations, [{ from: "dba-1", to: "dba-2" }]);
    const other = await someone(second);
    await other.goto(at(`/r/${one.id}`));
    await deny(other, "keep them");
    await one.ended;
  },

  async a_session_is_ended_from_its_card_and_its_agent_reads_why() {
    const one = await held("DROP TABLE web_session_over", "web_session_over");
    const page = await someone(first);
    await page.goto(at(`/r/${one.id}`));
    await page.getByText("End this session…").click();
    await page.locator(".end-session [name=reason]").fill("wrong database");
    await page.getByRole("button", { name: /^End session / }).click();
    assert.match((await one.ended).errors, /dba-1: wrong database/);
    assert.equal(await state(one.id), "withdrawn");
    const two = await held("DROP TABLE web_session_listed", "web_session_listed");
    await page.goto(at("/sessions"));
    const live = page.locator("li", { has: page.getByRole("link", { name: `waits for ${two.id}` }) });
    await live.getByText("End this session…").click();
    await live.locator("[name=reason]").fill("again");
    await live.getByRole("button", { name: /^End session / }).click();
    assert.match((await two.ended).errors, /dba-1: again/);
  },
};

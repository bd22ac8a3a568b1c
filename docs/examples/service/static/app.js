// The page: it shows what the API answers, and decides nothing itself. Buttons come from `actions`,
// what may be edited from `permissions`.

import { at, attempt, call, capital, h, notify, plural, speak, update, words } from "./base.js";
import { forgetDraft, renderSteps } from "./steps.js";

const STATUSES = ["draft", "ready", "generating", "review", "approved", "exported"];
const MAIN_ACTIONS = ["mark_ready", "start_generation", "complete_generation", "approve", "export"];
const CONFIRMED = {
  delete: "Delete this draft?",
  archive: "Archive this campaign? It cannot be brought back.",
};
const EXPLAINED = { request_changes: "What should change?", reopen_review: "Why?" };
const TABS = { steps: "Steps", contacts: "Contacts", messages: "Messages", history: "History" };
const MESSAGES_AT_ONCE = 20;

export let view = null; // What the API answered last about the campaign on display.
let shownMessages = MESSAGES_AT_ONCE;
let contactStatus = "";

const nameOf = (contact) => [contact.first_name, contact.last_name].filter(Boolean).join(" ");
export const may = (permission) => view.permissions.includes(permission);

// --- Changes -------------------------------------------------------------------------------------

// Send a change of the campaign on display, and show the answer.
async function change(method, path, body) {
  const { id } = view.campaign;
  const answer = await call(method, `campaigns/${id}/${path}`, body);
  if (answer.campaign) show(answer);
  await Promise.all([refresh(), loadList()]);
  return answer;
}

// --- The list, and the dialog for a new campaign -------------------------------------------------

async function loadList() {
  const { items } = await call("GET", "campaigns");
  const { id } = place();
  const data = items.map((one) => ({ ...one, isCurrent: one.id === id }));
  update(at("list"), data, () =>
    data.map((one) =>
      h(
        "li",
        {},
        h(
          "a",
          { href: `#/${one.id}`, id: `link-${one.id}`, "aria-current": one.isCurrent && "page" },
          h("strong", {}, one.name),
          h(
            "span",
            { class: "row between muted" },
            plural(one.total_contacts, "contact"),
            h("span", { class: `chip ${one.status}` }, words(one.status)),
          ),
        ),
      ),
    ),
  );
}

async function openDialog() {
  const templates = await call("GET", "templates");
  at("templates").replaceChildren(
    ...templates.map((template, index) =>
      h(
        "label",
        { class: "template" },
        h("input", {
          type: "radio",
          name: "template",
          value: template.id,
          checked: index === 0,
          required: true,
        }),
        template.name,
        h("span", {}, `${plural(template.steps.length, "step")}. ${template.description ?? ""}`),
      ),
    ),
  );
  at("dialog").showModal();
}

at("new").addEventListener("click", () => attempt(openDialog));
at("cancel").addEventListener("click", () => at("dialog").close());
at("start").addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, template } = Object.fromEntries(new FormData(event.target));
  attempt(async () => {
    const created = await call("POST", "campaigns", { name, template_id: template });
    at("dialog").close();
    event.target.reset();
    location.hash = `#/${created.campaign.id}`;
  });
});

// --- The campaign: head, actions, progress -------------------------------------------------------

export function show(answer) {
  const before = view;
  view = answer;
  const { campaign, progress } = view;
  document.title = `${campaign.name} - Campaigns`;
  update(at("head"), [campaign.name, campaign.status], buildHead);
  update(at("next"), [view.actions, view.permissions, progress.by_status, view.outdated], buildNext);
  update(at("progress"), [progress, campaign.status, campaign.steps.length], buildProgress);
  if (before?.campaign.id === campaign.id && before.campaign.status !== campaign.status) {
    speak(`The campaign is now ${campaign.status}.`);
  }
}

function buildHead() {
  const { name, status } = view.campaign;
  const reached = STATUSES.indexOf(status);
  return [
    h("h2", { class: "title" }, name),
    h(
      "ol",
      { class: "path", "aria-label": "Status" },
      [...STATUSES, ...(reached < 0 ? [status] : [])].map((one, index) =>
        h(
          "li",
          { class: index < reached || reached < 0 ? "done" : "" },
          h("span", { "aria-current": one === status && "step" }, capital(one)),
        ),
      ),
    ),
  ];
}

function buildNext() {
  const allowed = view.actions.filter((state) => state.allowed);
  const refused = view.actions.filter((state) => !state.allowed && state.target !== null);
  const elsewhere = view.actions.filter((state) => state.target === null);
  const { failed } = view.progress.by_status;
  const again = [
    may("retry_failed") &&
      (failed > 0 || (view.outdated > 0 && view.campaign.status !== "generating")) &&
      h("button", { id: "retry", type: "button", onclick: retry }, "Redo failed and outdated"),
    may("list_exportable") &&
      h(
        "a",
        { class: "button", href: `api/campaigns/${view.campaign.id}/export.csv` },
        "Download CSV",
      ),
  ];
  return [
    h("h3", { class: "visually-hidden" }, "What to do next"),
    h("div", { class: "row" }, [...allowed.map(actionButton), ...again]),
    refused.length > 0 && h("ul", { class: "refused" }, refused.map(refusedAction)),
    h(
      "details",
      {},
      h("summary", {}, `${plural(elsewhere.length, "action")} of other statuses`),
      h("ul", { class: "refused" }, elsewhere.map(refusedAction)),
    ),
  ];
}

function actionButton({ action }) {
  const kind = MAIN_ACTIONS.includes(action) ? "primary" : action in CONFIRMED ? "danger" : "";
  const apply = () => {
    if (action in CONFIRMED && !confirm(CONFIRMED[action])) return;
    const reason = action in EXPLAINED ? prompt(EXPLAINED[action]) : "";
    if (reason === null) return;
    attempt(async () => {
      await change("POST", `actions/${action}`, { reason: reason || null });
      if (action === "delete") location.hash = "#/";
    });
  };
  return h("button", { id: action, class: kind, type: "button", onclick: apply }, capital(action));
}

// A button that cannot be used now. It keeps the focus, so that everyone can hear the reason.
function refusedAction({ action, error }) {
  const reasons = error.unmet.length
    ? error.unmet.map((unmet) => unmet.message)
    : [`only in status ${error.legal_from.join(" or ")}`];
  return h(
    "li",
    {},
    h(
      "button",
      { id: action, type: "button", "aria-disabled": "true", "aria-describedby": `why-${action}` },
      capital(action),
    ),
    h("span", { id: `why-${action}`, class: "muted" }, reasons.join("; ")),
  );
}

const retry = () =>
  attempt(async () => {
    const { changed } = await change("POST", "retry");
    notify(`${plural(changed, "contact")} will get new messages.`, "done");
  });

function buildProgress() {
  const { progress, campaign } = view;
  const counts = progress.by_status;
  const total = progress.total;
  const finished = counts.generated + counts.failed;
  const parts = {
    generated: counts.generated,
    failed: counts.failed,
    generating: counts.generating,
    enrichment_needed: counts.enrichment_needed,
    waiting: counts.pending + counts.enrichment_ok,
  };
  const percent = total ? Math.floor((100 * counts.generated) / total) : 0;
  const summary = `${counts.generated} of ${plural(total, "contact")} generated`;
  if (campaign.status === "generating" && finished)
    speak(`${percent - (percent % 20)} percent generated`);
  const figures = {
    Spent: progress.spent,
    ...(progress.budget !== null && { Reserved: progress.reserved, Budget: progress.budget }),
    ...(campaign.status === "generating" &&
      progress.seconds_left != null && { "Time left": `${Math.ceil(progress.seconds_left)} s` }),
    ...(progress.unknown_costs > 0 && { "Unknown costs": progress.unknown_costs }),
    ...(may("list_exportable") && { Exported: `${progress.exported} of ${counts.generated}` }),
  };
  return [
    h(
      "div",
      { class: "row between" },
      h("h3", {}, "Progress"),
      h("span", { class: "muted number" }, total ? `${summary} (${percent} %)` : "no contacts yet"),
    ),
    h(
      "div",
      {
        class: "bar",
        role: "progressbar",
        "aria-label": "Generated contacts",
        "aria-valuenow": percent,
        "aria-valuetext": summary,
      },
      Object.entries(parts).map(([name, count]) => grown(h("i", { class: name }), count)),
    ),
    h(
      "ul",
      { class: "legend" },
      Object.entries(parts)
        .filter(([, count]) => count > 0)
        .map(([name, count]) => h("li", {}, h("i", { class: name }), `${count} ${words(name)}`)),
    ),
    h(
      "dl",
      { class: "figures" },
      Object.entries(figures).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, String(value))),
      ),
    ),
  ];
}

function grown(element, count) {
  element.style.flexGrow = count;
  return element;
}

// --- Contacts ------------------------------------------------------------------------------------

async function loadContacts() {
  const filter = contactStatus && `?status=${contactStatus}`;
  const { items, next } = await call("GET", `campaigns/${view.campaign.id}/contacts${filter}`);
  return { items, hasMore: next !== null, mayAssign: may("assign_contacts"), contactStatus };
}

function buildContacts({ items, hasMore, mayAssign }) {
  const counts = view.progress.by_status;
  const countOf = (status) => `${words(status)} (${counts[status]})`;
  return h(
    "div",
    { class: "stack" },
    mayAssign && buildAssignment(),
    h(
      "div",
      { class: "card stack" },
      h(
        "div",
        { class: "row between" },
        h("h3", {}, "Contacts"),
        h(
          "label",
          {},
          "Status",
          h(
            "select",
            { id: "contact-status", onchange: chooseStatus },
            ["", ...Object.keys(counts)].map((one) =>
              h(
                "option",
                { value: one, selected: one === contactStatus },
                one ? countOf(one) : "all",
              ),
            ),
          ),
        ),
      ),
      items.length ? contactTable(items) : h("p", { class: "muted" }, "No contacts here."),
      hasMore && h("p", { class: "muted" }, "These are the first 100."),
    ),
  );
}

function buildAssignment() {
  return h(
    "div",
    { class: "card stack" },
    h("h3", {}, "Assign contacts"),
    h(
      "div",
      { class: "row bottom" },
      h(
        "label",
        {},
        "CSV file",
        h("input", { id: "file", type: "file", accept: ".csv,text/csv", onchange: upload }),
      ),
      h(
        "button",
        { id: "sample", type: "button", onclick: assignSample },
        "Use the sample contacts",
      ),
    ),
    h(
      "p",
      { class: "muted" },
      "The file needs the columns first_name and company. It may have last_name, job_title, ",
      "email_address, linkedin_url and phone. ",
      h("a", { href: "api/sample_contacts.csv" }, "A sample file"),
    ),
    h("p", { id: "assigned", role: "status" }),
  );
}

function contactTable(items) {
  const head = (name, kind) => h("th", { scope: "col", class: kind }, name);
  return h(
    "table",
    {},
    h(
      "thead",
      {},
      h("tr", {}, head("Contact"), head("Status"), head("Note"), head("Cost", "amount")),
    ),
    h(
      "tbody",
      {},
      items.map((one) =>
        h(
          "tr",
          {},
          h("td", {}, h("strong", {}, nameOf(one)), h("div", { class: "muted" }, one.company)),
          h("td", {}, h("span", { class: `chip ${one.status}` }, words(one.status))),
          h("td", { class: "muted" }, noteOf(one)),
          h("td", { class: "amount" }, one.cost === "0" ? "" : one.cost),
        ),
      ),
    ),
  );
}

function noteOf(contact) {
  if (contact.error) return `${contact.error_code}: ${contact.error}`;
  if (contact.stale) return "from earlier steps";
  const gaps = contact.enrichment_gaps ?? [];
  return gaps.length ? `lacks ${gaps.map(words).join(", ")}` : "";
}

const assign = (text) =>
  attempt(async () => {
    const answer = await change("POST", "contacts", text);
    const parts = [`${plural(answer.added, "contact")} assigned`];
    if (answer.already_there) parts.push(`${answer.already_there} were there already`);
    if (answer.not_ready) parts.push(`${answer.not_ready} lack a field that a channel needs`);
    at("assigned").textContent = `${parts.join("; ")}.`;
  });

const upload = (event) => assign(event.target.files[0]);
const assignSample = async () => assign(await (await fetch("api/sample_contacts.csv")).text());

function chooseStatus(event) {
  contactStatus = event.target.value;
  renderPanel();
}

// --- Messages ------------------------------------------------------------------------------------

async function loadMessages() {
  const path = `campaigns/${view.campaign.id}/messages?limit=${shownMessages}`;
  const { items, next } = await call("GET", path);
  return { items, hasMore: next !== null, review: view.review, isReview: may("review_messages") };
}

function buildMessages({ items, hasMore, review, isReview }) {
  const { approved, rejected, undecided } = review;
  const total = plural(approved + rejected + undecided, "message");
  const tally = `${total}: ${approved} approved, ${rejected} rejected, ${undecided} undecided`;
  const approveAll = { id: "approve-all", type: "button", onclick: () => decide("approved") };
  return h(
    "div",
    { class: "stack" },
    h(
      "div",
      { class: "card row between" },
      h("p", { role: "status" }, items.length ? tally : "No messages yet: the workers write them."),
      isReview && undecided > 0 && h("button", approveAll, `Approve all ${undecided} undecided`),
    ),
    items.map((message) => buildMessage(message, isReview)),
    hasMore && h("button", { id: "more", type: "button", onclick: showMore }, "Show more messages"),
  );
}

function buildMessage(message, isReview) {
  const name = nameOf(message);
  const step = `${message.sequence_step}${message.variant}`;
  const button = (decision, label) => {
    const isPressed = message.status === decision;
    return h(
      "button",
      {
        id: `${decision}-${message.id}`,
        class: decision === "approved" ? "approve" : "reject",
        type: "button",
        "aria-label": `${label} message ${step} to ${name}`,
        "aria-pressed": String(isPressed),
        onclick: () => decide(isPressed ? "draft" : decision, [message.id]),
      },
      label,
    );
  };
  return h(
    "article",
    { class: "card message", "aria-label": `Message to ${name}` },
    h(
      "div",
      { class: "row between" },
      h(
        "span",
        {},
        h("strong", {}, name),
        h("span", { class: "muted" }, ` ${message.company ?? ""}`),
      ),
      h("span", { class: "muted" }, `step ${step}, ${words(message.channel)}`),
    ),
    h(
      "div",
      { class: "body" },
      message.subject && h("p", { class: "subject" }, message.subject),
      h("p", {}, message.body),
    ),
    isReview
      ? h("div", { class: "row" }, button("approved", "Approve"), button("rejected", "Reject"))
      : h("span", { class: `chip ${message.status}` }, words(message.status)),
  );
}

const decide = (decision, ids) =>
  attempt(() => change("POST", "review", { decision, message_ids: ids ?? null }));

function showMore() {
  shownMessages += MESSAGES_AT_ONCE;
  renderPanel();
}

// --- History -------------------------------------------------------------------------------------

function buildHistory(entries) {
  if (!entries.length) return h("p", { class: "card muted" }, "Nothing has happened yet.");
  return h(
    "ol",
    { class: "card history" },
    entries
      .toReversed()
      .map((entry) =>
        h(
          "li",
          {},
          h("time", { class: "muted", datetime: entry.at }, new Date(entry.at).toLocaleString()),
          h(
            "span",
            {},
            h("strong", {}, capital(entry.action)),
            ` by ${entry.actor ?? "someone"}: ${entry.source} to ${entry.target}`,
            entry.reason && h("div", { class: "muted" }, entry.reason),
          ),
        ),
      ),
  );
}

// --- The tab on display, and the loop that keeps the page up to date -----------------------------

function place() {
  const [, id = "", tab] = location.hash.split("/");
  return { id, tab };
}

function currentTab() {
  const byStatus = { draft: "steps", ready: "steps", generating: "contacts" };
  return place().tab ?? byStatus[view.campaign.status] ?? "messages";
}

export async function renderPanel() {
  const { id } = view.campaign;
  const tab = currentTab();
  update(at("tabs"), [id, tab], () =>
    Object.entries(TABS).map(([name, label]) =>
      h(
        "a",
        { id: `tab-${name}`, href: `#/${id}/${name}`, "aria-current": name === tab && "page" },
        label,
      ),
    ),
  );
  at("panel").setAttribute("aria-label", TABS[tab]);
  if (tab === "steps") return renderSteps();
  if (tab === "history") return update(at("panel"), view.history, buildHistory);
  const [load, build] =
    tab === "contacts" ? [loadContacts, buildContacts] : [loadMessages, buildMessages];
  const data = await load();
  if (view.campaign.id === id && currentTab() === tab) update(at("panel"), data, build);
}

export async function refresh() {
  const { id } = place();
  const isChosen = id !== "";
  document.body.classList.toggle("detail", isChosen);
  at("campaign").hidden = !isChosen;
  at("empty").hidden = isChosen;
  if (!isChosen) return;
  const answer = await call("GET", `campaigns/${id}`);
  if (place().id !== id) return;
  show(answer);
  await renderPanel();
}

async function open() {
  const { id } = place();
  if (view?.campaign.id !== id) {
    forgetDraft();
    shownMessages = MESSAGES_AT_ONCE;
    contactStatus = "";
    document.title = "Campaigns";
  }
  await attempt(() => Promise.all([loadList(), refresh()]));
}

// While workers run, look every half second; otherwise others may change something now and then.
async function follow() {
  const { campaign, progress } = view ?? {};
  const isMoving =
    campaign?.status === "generating" ||
    (campaign?.status === "exported" && progress.exported < progress.by_status.generated);
  await new Promise((resolve) => setTimeout(resolve, isMoving ? 500 : 3000));
  if (!document.hidden) await Promise.all([loadList(), refresh()]).catch(() => {});
  follow();
}

addEventListener("hashchange", open);
open().then(follow);

// A front end that uses the published types: correctly first, then in every wrong way that the
// compiler must reject.

import type {
  ActionState,
  CampaignModelError,
  CampaignSummary,
  Channel,
  HistoryEntry,
  Lifecycle,
  Page,
  Permission,
  Progress,
  Status,
  StoredCampaignTemplate,
  StoredStep,
  StoredTemplateConfig,
  SubmittedCampaignTemplate,
  SubmittedGenerationConfig,
  SubmittedStep,
  SubmittedTemplateConfig,
  Violation,
} from "./campaign-model";
import tables from "./lifecycle.json";

// Correct uses.

const lifecycle = tables as Lifecycle;

const first: SubmittedStep = {
  step: 1,
  channel: "email",
  label: "Say hello",
  enabled: true,
  needs_pdf: false,
  variant_count: 2,
  day_offset: 0,
  condition: "always",
  config: { tone: "friendly", lengths: [80, 120] },
  x_colour: "teal",
};

const settings: SubmittedGenerationConfig = { tone: "direct", budget: "25.00", x_owner: { id: 7 } };

export const template: SubmittedCampaignTemplate = {
  id: "6b1f6a0e-3c55-4d0b-9a58-0f2b7d1c9e47",
  name: "Spring",
  steps: [first, { ...first, step: 2, channel: "call_script", condition: "no_response" }],
  generation_config: settings,
};

/** A submitted document can be used as a stored one, but not the other way round. */
export const kept: StoredCampaignTemplate = template;

export function labels(steps: StoredTemplateConfig): string[] {
  return steps.map((step, index) => step.label ?? `${step.channel} ${index + 1}`);
}

/** A stored step may have unknown fields, and keeps all of them. */
export function renamed(step: StoredStep, label: string): StoredStep {
  return { ...step, label };
}

export function fromOthers(step: StoredStep): unknown {
  return step["crm_reference"];
}

export function describe(channel: Channel): string {
  switch (channel) {
    case "linkedin_connect":
    case "linkedin_message":
      return "LinkedIn";
    case "email":
      return "Mail";
    case "call_script":
      return "Phone";
  }
}

/** A button for each action of the status; the service says which of them are allowed. */
export function buttons(status: Status): { text: string; hints: string[] }[] {
  return lifecycle.transitions
    .filter((line) => line.source === status)
    .map((line) => ({
      text: line.deletes ? "delete" : `${line.action} (${line.target})`,
      hints: line.guards.map((guard) => lifecycle.guards[guard]),
    }));
}

export function isGrey(change: Permission, status: Status): boolean {
  return !lifecycle.permissions[change].includes(status);
}

export function waits(): string[] {
  const released = lifecycle.contact_transitions.find((line) => line.action === "release");
  return [released?.target ?? lifecycle.resting_status.gaps_unknown, ...lifecycle.claimable];
}

export function told(faults: Violation[]): string {
  return faults.map((fault) => `${fault.path || "(whole)"}: ${fault.message}`).join("\n");
}

/** One button for each action, with the reasons beside a disabled one. */
export function disabled(states: ActionState[]): Record<string, string[]> {
  return Object.fromEntries(
    states.flatMap(({ action, error }) =>
      error === null ? [] : [[action, error.unmet.map((unmet) => unmet.message)]],
    ),
  );
}

export function bar(progress: Progress): string {
  const left = progress.seconds_left === null ? "" : `, ${Math.round(progress.seconds_left)} s left`;
  return `${progress.by_status.generated} of ${progress.total}, ${progress.spent} spent${left}`;
}

export function names(page: Page<CampaignSummary>): string[] {
  return page.items.map((summary) => `${summary.name} (${summary.status})`);
}

export function isMove(entry: HistoryEntry): boolean {
  return entry.action !== "adopted";
}

export function sentence(error: CampaignModelError): string {
  switch (error.code) {
    case "invalid_document":
      return told(error.violations);
    case "not_found":
      return `${error.kind}: ${error.ids.length}`;
    default:
      return error.message;
  }
}

// Wrongly. The compiler's code stands for its reason: it must not be another one.

// @ts-expect-error TS2322: an unknown channel
export const channel: Channel = "fax";

// @ts-expect-error TS2741: no label
export const unlabelled: SubmittedStep = { step: 1, channel: "email", enabled: true, needs_pdf: false, variant_count: 1 };

// @ts-expect-error TS2322: a number in quotes
export const quoted: SubmittedStep = { ...first, variant_count: "2" };

// @ts-expect-error TS2322: null instead of an absent field
export const empty: SubmittedStep = { ...first, key: null };

// @ts-expect-error TS2561: an unknown field without x_
export const misspelled: SubmittedStep = { ...first, varaint_count: 2 };

// @ts-expect-error TS2322: an unknown condition
export const conditional: SubmittedStep = { ...first, condition: "sometimes" };

// @ts-expect-error TS2322: a list instead of an object
export const listed: SubmittedStep = { ...first, config: ["friendly"] };

// @ts-expect-error TS2375: a stored step may lack fields, so it cannot be submitted
export const resent: SubmittedTemplateConfig = [{ channel: "email" } as StoredStep];

// @ts-expect-error TS2322: money as a number
export const paid: SubmittedGenerationConfig = { budget: 25 };

// @ts-expect-error TS2322: an unknown tone
export const toned: SubmittedGenerationConfig = { tone: "rude" };

// @ts-expect-error TS2353: a template has no unknown fields
export const extended: SubmittedCampaignTemplate = { ...template, x_owner: "me" };

// @ts-expect-error TS2741: a stored step without a channel
export const unreachable: StoredStep = { label: "Say hello" };

// @ts-expect-error TS2322: a known field of a stored step with another type
export const mistyped: StoredStep = { channel: "fax", enabled: "yes" };

// @ts-expect-error TS2345: an unknown status
export const stray = buttons("paused");

// @ts-expect-error TS2345: an action is not a change
export const confused = isGrey("approve", "draft");

// @ts-expect-error TS2345: a contact's status is not a campaign's
export const mixed = lifecycle.statuses.includes("pending");

// @ts-expect-error TS2339: an unknown name of a guard
export const guessed = lifecycle.guards.has_budget;

// @ts-expect-error TS2339: the place of a violation is its path
export const lost = ({ path: "/0", code: "required", message: "" } satisfies Violation).pointer;

// @ts-expect-error TS2367: an unknown action
export const moved = (entry: HistoryEntry) => entry.action === "pause";

// @ts-expect-error TS2322: an amount is text
export const dear = (progress: Progress): number => progress.spent;

// @ts-expect-error TS18047: an allowed action has no error
export const why = (state: ActionState) => state.error.message;

// @ts-expect-error TS2339: a summary has no steps
export const stepless = (page: Page<CampaignSummary>) => page.items.map((summary) => summary.steps);

// Written by `nox -s generate` from the JSON Schemas and the lifecycle; do not edit.
//
// Comments say what types cannot express: limits and patterns. The JSON Schemas beside this file
// have them too.

/** The status of a campaign. The database stores these words. */
export type Status =
  | "draft"
  | "ready"
  | "generating"
  | "review"
  | "approved"
  | "exported"
  | "archived";

/** A named change of a campaign's status. */
export type Action =
  | "mark_ready"
  | "return_to_draft"
  | "start_generation"
  | "submit_for_review"
  | "complete_generation"
  | "cancel_generation"
  | "request_changes"
  | "approve"
  | "reopen_review"
  | "export"
  | "archive"
  | "delete";

/**
 * A change of a campaign's content that is legal only in some statuses. The store checks every
 * permission except `review_messages`: approving and rejecting messages changes the host's table,
 * so the host calls `check_permission`.
 */
export type Permission =
  | "edit_details"
  | "edit_steps"
  | "edit_config"
  | "raise_budget"
  | "assign_contacts"
  | "remove_contacts"
  | "exclude_contacts"
  | "include_contacts"
  | "set_readiness"
  | "claim"
  | "retry_failed"
  | "regenerate"
  | "review_messages"
  | "list_exportable"
  | "export_contacts";

/** The status of one contact within one campaign. */
export type ContactStatus =
  | "pending"
  | "enrichment_ok"
  | "enrichment_needed"
  | "generating"
  | "generated"
  | "failed"
  | "excluded";

/** A named change of a contact's status within one campaign. */
export type ContactAction =
  | "claim"
  | "succeed"
  | "fail"
  | "release"
  | "retry"
  | "regenerate"
  | "exclude"
  | "include"
  | "mark_ok"
  | "mark_needed";

/** Why `assign` left a contact out: it is in an active campaign, or in its cooldown. */
export type SkipReason = "active_campaign" | "cooldown";

/** The name of a condition on a move. */
export type Guard =
  | "has_enabled_steps"
  | "has_contacts"
  | "has_contacts_to_generate"
  | "something_generated"
  | "nothing_in_flight"
  | "nothing_left_to_claim"
  | "review_counted"
  | "nothing_undecided"
  | "something_approved"
  | "nothing_waiting"
  | "nothing_stale";

/** One line of the campaigns' transition table. `deletes`: the campaign becomes inactive. */
export type Transition = {
  source: Status;
  action: Action;
  target: Status;
  guards: Guard[];
  deletes: boolean;
};

/**
 * One line of the contacts' transition table. The target `null` means `resting_status` of the
 * contact's gaps. `expired_lease` marks the takeover of a contact, which is legal only after the
 * contact's lease has expired.
 */
export type ContactTransition = {
  source: ContactStatus;
  action: ContactAction;
  target: ContactStatus | null;
  expired_lease: boolean;
};

/** lifecycle.json: the lifecycles of campaigns and of the contacts in them. */
export type Lifecycle = {
  /** Ends in a digest of all other members: copies with the same id are equal. */
  id: string;
  statuses: Status[];
  actions: Action[];
  transitions: Transition[];
  /** What each guard requires. Only the service knows whether it holds. */
  guards: Record<Guard, string>;
  /** The statuses in which each change is allowed. */
  permissions: Record<Permission, Status[]>;
  contact_statuses: ContactStatus[];
  contact_actions: ContactAction[];
  contact_transitions: ContactTransition[];
  /** The statuses in which a contact can be claimed without waiting for a lease to expire. */
  claimable: ContactStatus[];
  /** The target of a transition without one, by the contact's gaps. */
  resting_status: Record<"gaps_unknown" | "no_gaps" | "some_gaps", ContactStatus>;
};

/** When to send a step, depending on what the contact did before. */
export type Condition = "always" | "no_response" | "opened_not_replied";

/** The channels of the standard vocabulary; a service may know others. */
export type Channel = "linkedin_connect" | "linkedin_message" | "email" | "call_script";

/** The tones of the standard vocabulary; a service may know others. */
export type Tone =
  | "professional"
  | "casual"
  | "friendly"
  | "formal"
  | "conversational"
  | "enthusiastic"
  | "direct";

/** A step as callers send it. */
export type SubmittedStep = {
  /** A whole number, the step's place counted from 1. */
  step: number;
  channel: Channel;
  /** Text of 1 to 200 characters. */
  label: string;
  enabled: boolean;
  needs_pdf: boolean;
  /** A whole number, 1 to 3. */
  variant_count: number;
  /** 1 to 40 characters out of a-z, A-Z, 0-9, _ and -. */
  key?: string;
  /** A whole number, 0 to 365. */
  day_offset?: number;
  condition?: Condition;
  config?: Record<string, unknown>;
  /** Fields of your own. */
  [own: `x_${string}`]: unknown;
};

/** template_config as callers send it: a list of 1 to 20 steps. */
export type SubmittedTemplateConfig = SubmittedStep[];

/** generation_config as callers send it. */
export type SubmittedGenerationConfig = {
  /** Text: the address of this JSON Schema, for editors; it is not kept. */
  $schema?: string;
  tone?: Tone;
  /**
   * A language tag such as en or pt-BR: 2 to 8 letters, then at most three parts of 1 to 8 letters
   * or digits, each after a -.
   */
  language?: string;
  /** Text of at most 10000 characters. */
  custom_instructions?: string;
  /** A whole number, 1 to 3. */
  default_variant_count?: number;
  /**
   * An amount in quotes and plain digits such as "25.00", below 1000000000 and with at most 9
   * decimals.
   */
  budget?: string;
  /** Fields of your own. */
  [own: `x_${string}`]: unknown;
};

/** campaign_template as callers send it. */
export type SubmittedCampaignTemplate = {
  /** Text: the address of this JSON Schema, for editors; it is not kept. */
  $schema?: string;
  /** A UUID in lower case with dashes. */
  id: string;
  /** Text of at most 500 characters that is not blank. */
  name: string;
  /** Text of at most 10000 characters. */
  description?: string;
  steps: SubmittedTemplateConfig;
  generation_config: SubmittedGenerationConfig;
};

/** A step as databases contain it. */
export type StoredStep = {
  /** A whole number, at least 1. */
  step?: number | "" | null;
  /** A channel's name: a letter a-z, then a-z, 0-9 or _, at most 40 characters. */
  channel: string;
  /** Text. */
  label?: string | null;
  enabled?: boolean | "" | null;
  needs_pdf?: boolean | "" | null;
  /** A whole number, 1 to 3. */
  variant_count?: number | "" | null;
  /** 1 to 40 characters out of a-z, A-Z, 0-9, _ and -. */
  key?: string | null;
  /** A whole number, 0 to 365. */
  day_offset?: number | "" | null;
  condition?: Condition | "" | null;
  config?: Record<string, unknown> | "" | null;
  /** Unknown fields: keep them. */
  [other: string]: unknown;
};

/** template_config as databases contain it: a list of at most 20 steps. */
export type StoredTemplateConfig = StoredStep[];

/** generation_config as databases contain it. */
export type StoredGenerationConfig = {
  /** Text. */
  tone?: string | null;
  /**
   * A language tag such as en or pt-BR: 2 to 8 letters, then at most three parts of 1 to 8 letters
   * or digits, each after a -.
   */
  language?: string | null;
  /** Text of at most 10000 characters. */
  custom_instructions?: string | null;
  /** A whole number, 1 to 3. */
  default_variant_count?: number | "" | null;
  /**
   * An amount in quotes and plain digits such as "25.00", below 1000000000 and with at most 9
   * decimals.
   */
  budget?: string | null;
  /** Unknown fields: keep them. */
  [other: string]: unknown;
};

/** campaign_template as databases contain it. */
export type StoredCampaignTemplate = {
  /** Text: the address of this JSON Schema, for editors; it is not kept. */
  $schema?: string;
  /** A UUID in lower case with dashes. */
  id: string;
  /** Text of at most 500 characters that is not blank. */
  name: string;
  /** Text of at most 10000 characters. */
  description?: string | null;
  steps: StoredTemplateConfig;
  generation_config?: StoredGenerationConfig | null;
};

/** A step as dump_template_config writes it. Other members are your own. */
export type Step = {
  /** A whole number, at least 1. */
  step: number;
  /** A channel's name: a letter a-z, then a-z, 0-9 or _, at most 40 characters. */
  channel: string;
  /** Text of 1 to 200 characters. */
  label: string;
  enabled: boolean;
  needs_pdf: boolean;
  /** A whole number, 1 to 3. */
  variant_count: number;
  /** 1 to 40 characters out of a-z, A-Z, 0-9, _ and -. */
  key?: string;
  /** A whole number, 0 to 365. */
  day_offset?: number;
  condition?: Condition;
  config?: Record<string, unknown>;
  /** Unknown fields: keep them. */
  [other: string]: unknown;
};

/** The settings as dump_generation_config writes them. Other members are your own. */
export type GenerationConfig = {
  /** Text of 1 to 200 characters. */
  tone?: string;
  /**
   * A language tag such as en or pt-BR: 2 to 8 letters, then at most three parts of 1 to 8 letters
   * or digits, each after a -.
   */
  language?: string;
  /** Text of at most 10000 characters. */
  custom_instructions?: string;
  /** A whole number, 1 to 3. */
  default_variant_count?: number;
  /**
   * An amount in quotes and plain digits such as "25.00", below 1000000000 and with at most 9
   * decimals.
   */
  budget?: string;
  /** Unknown fields: keep them. */
  [other: string]: unknown;
};

/** The steps as dump_template_config writes them, numbered from 1. */
export type StepSequence = Step[];

/** A change that was needed to read a stored document or row. `path` is a JSON Pointer. */
export type Repair = {
  path: string;
  code: string;
  message: string;
};

/**
 * Steps and settings to start campaigns from. A system template has no tenant: every tenant sees
 * it and no tenant can change it. `version` grows with every change.
 */
export type CampaignTemplate = {
  name: string;
  steps: StepSequence;
  generation_config: GenerationConfig;
  description: string | null;
  id: string;
  is_system: boolean;
  version: number;
  created_at: string | null;
  updated_at: string | null;
  repairs: Repair[];
};

/**
 * An outreach to many contacts with the same sequence of steps. `id` is chosen before `add`, so
 * that a repeated `add` fails instead of making a second campaign. `status` changes only through
 * `CampaignStore.campaigns.apply`. `is_active` is false only for a deleted draft. `template_id`
 * records the template that the steps were copied from. `version` grows with every edit and move.
 * `repairs` lists the changes that were needed to read the stored documents.
 */
export type Campaign = {
  name: string;
  steps: StepSequence;
  generation_config: GenerationConfig;
  description: string | null;
  owner_id: string | null;
  template_id: string | null;
  id: string;
  status: Status;
  is_active: boolean;
  version: number;
  created_at: string | null;
  updated_at: string | null;
  generation_started_at: string | null;
  generation_completed_at: string | null;
  repairs: Repair[];
};

/**
 * One line of a list of campaigns: the totals, without the steps. `total_contacts` leaves out
 * excluded contacts. `generated_count` is the number of contacts that have their messages.
 * `generation_cost` is exact, but leaves out the costs of `unknown_costs` outcomes. `repairs`
 * names values of another program that could not be read: a status (`unknown_status`, read as
 * archived), times (`time_out_of_range`), and costs that add up to more than the database can hold
 * (`sum_out_of_range`).
 */
export type CampaignSummary = {
  id: string;
  name: string;
  status: Status;
  is_active: boolean;
  owner_id: string | null;
  template_id: string | null;
  total_contacts: number;
  generated_count: number;
  generation_cost: string;
  unknown_costs: number;
  version: number;
  created_at: string;
  updated_at: string;
  repairs: Repair[];
};

/**
 * One move of a campaign: who made it, when and why. The history of an adopted campaign begins
 * with an entry whose `action` is `ADOPTED`. It is no move: `at` is the time of the last change
 * before adoption, and `reason` is a JSON object with the findings of adoption.
 */
export type HistoryEntry = {
  at: string;
  action: Action | "adopted";
  source: Status;
  target: Status;
  version: number;
  actor: string | null;
  reason: string | null;
};

/**
 * A change of a campaign's status, as `db.take_moves` returns it to a consumer. `id` is the id of
 * the history entry: a receiver recognises by it a move that it gets again. `version` is the
 * campaign's version after the move, and grows with each move of a campaign.
 */
export type Move = {
  id: string;
  tenant_id: string;
  campaign_id: string;
  version: number;
  action: Action;
  source: Status;
  target: Status;
  actor: string | null;
  reason: string | null;
  at: string;
};

/**
 * One contact's place in one campaign: readiness, generation status, cost and error.
 * `enrichment_gaps` names the missing fields. It is `null` until the gaps are known and `[]` if
 * nothing is missing. Contacts with a higher `priority` are generated first. `cost` is the sum
 * booked so far, which may exceed the limit of one amount. `unknown_costs` is the number of
 * outcomes without a cost. `revision` grows when the contact is generated again on purpose or
 * under other steps. `stale` is true if the contact was generated from steps with another
 * fingerprint than the campaign's present steps. `exported_at` is when an exporter recorded that
 * it has pushed the contact's messages. If another program has written a status that the library
 * does not know, the contact reads as excluded, with the `error_code` `unknown_status`.
 */
export type CampaignContact = {
  id: string;
  campaign_id: string;
  contact_id: string;
  status: ContactStatus;
  enrichment_gaps: string[] | null;
  priority: number;
  attempts: number;
  revision: number;
  cost: string;
  unknown_costs: number;
  error_code: string | null;
  error: string | null;
  stale: boolean;
  lease_expires_at: string | null;
  retry_at: string | null;
  added_at: string;
  generated_at: string | null;
  exported_at: string | null;
};

/**
 * The answer of `assign`. `added` and `already_there` are numbers of contacts. `unknown` has the
 * ids that are no contact of this tenant, in the given order; they were left out. So were those in
 * `skipped`, because of another campaign.
 */
export type Assigned = {
  added: number;
  already_there: number;
  unknown: string[];
  skipped: Skipped[];
};

/**
 * A contact that `assign` left out, and the other campaign that is the reason. `last_activity_at`
 * is when the contact was last exported, generated, claimed or assigned there.
 */
export type Skipped = {
  contact_id: string;
  reason: SkipReason;
  campaign_id: string;
  campaign_name: string;
  last_activity_at: string;
};

/**
 * The answer of `remove`. `removed` is the number of deleted campaign contacts. `kept` has the ids
 * of contacts that were excluded instead, because they were claimed before or messages refer to
 * them.
 */
export type Removed = {
  removed: number;
  kept: string[];
};

/**
 * The answer of a change of several contacts. `changed` is the number of changed contacts.
 * `skipped` has the ids of contacts that are not in the campaign, or whose status does not allow
 * the change.
 */
export type Changed = {
  changed: number;
  skipped: string[];
};

/** A contact of one campaign that is also in another campaign, and its last activity there. */
export type Overlap = {
  contact_id: string;
  campaign_id: string;
  campaign_name: string;
  status: ContactStatus;
  last_activity_at: string;
};

/**
 * How far a campaign's generation is. `by_status` has a number of contacts for every status.
 * `spent`, `reserved` and `budget` are money. `unknown_costs` is the number of outcomes without a
 * cost. `per_second` is the rate of finished contacts since the run began, and `seconds_left` is
 * the time for the rest at that rate. Both are `null` while they are unknown, and `seconds_left`
 * is `null` after the generation was completed. `exported` is the number of contacts whose
 * messages were exported. `repairs` names what another program has written so that it cannot be
 * read: times and sums as in `CampaignSummary`, and settings (`unreadable`). `budget` is `null` if
 * the settings cannot be read.
 */
export type Progress = {
  by_status: Record<ContactStatus, number>;
  spent: string;
  reserved: string;
  unknown_costs: number;
  budget: string | null;
  per_second: number | null;
  seconds_left: number | null;
  exported: number;
  repairs: Repair[];
  assigned: number;
  total: number;
};

/**
 * What the rest of a campaign needs: contacts to generate, their messages, and money. `cost` uses
 * the average cost of finished contacts. It is `null` before the first known cost.
 */
export type Estimate = {
  contacts: number;
  messages: number;
  cost: string | null;
};

/** How many messages the reviewers approved, rejected, and left undecided. */
export type ReviewTally = {
  approved: number;
  rejected: number;
  undecided: number;
};

/**
 * One action, and whether a campaign may take it now. A front end shows it as a button. `target`
 * is the status that the action leads to, or `null` if `TRANSITIONS` has no line for the
 * campaign's status and this action. `error` says why the action is not allowed; it is `null` if
 * the action is allowed.
 */
export type ActionState = {
  action: Action;
  target: Status | null;
  error: TransitionNotAllowed | null;
  allowed: boolean;
};

/** One message that a contact is to get: a step and a variant (`a`, `b` or `c`). */
export type MessageSlot = {
  step_key: string;
  position: number;
  channel: string;
  variant: string;
};

/**
 * The keys of the steps that differ between two sequences. `moved` are the steps of both sequences
 * whose order changed.
 */
export type SequenceDiff = {
  added: string[];
  removed: string[];
  changed: string[];
  moved: string[];
};

/**
 * One fault of a document. `path` is a JSON Pointer (RFC 6901) to the faulty value, `""` for the
 * whole document. It has at most 1,000 characters: a value with a longer pointer has the pointer
 * of an object or array around it. `code` is stable, for programs. `message` is for the author of
 * the document.
 */
export type Violation = {
  path: string;
  code: string;
  message: string;
};

/** A guard that does not hold: its stable name, and a sentence that says what to do. */
export type Unmet = {
  guard: string;
  message: string;
};

/**
 * One page of a list. To get the next page, pass `next` as the argument `after`. On the last page,
 * `next` is `null`.
 */
export type Page<Item> = {
  items: Item[];
  next: string | null;
};

/**
 * A document, or a value made in Python, breaks its rules. `document` is the kind, such as
 * `template_config`. `violations` has every fault, but not more than 100. If there are more, one
 * more violation with the code `more_violations` says how many.
 */
export type InvalidDocument = {
  code: "invalid_document";
  message: string;
  document: string;
  violations: Violation[];
};

/**
 * An argument has a value that the call cannot use, such as an unknown action. Nothing changed.
 * `argument` is the argument's name. `message` says what the value must be. If the value must be
 * one of a few words, `allowed` has them. A value of a wrong type is a mistake in the program and
 * raises `TypeError` instead. This class is a `ValueError` as well, as for Python's own functions.
 */
export type InvalidArgument = {
  code: "invalid_argument";
  message: string;
  argument: string;
  allowed: string[];
};

/**
 * The campaign's status, or a guard, forbids an action or a change of content. `source` is the
 * campaign's status, `action` the refused action or permission. `allowed` has the actions that the
 * table lists for `source`, and `legal_from` the statuses that allow `action`. `unmet` has every
 * guard that does not hold; if the status is the reason, it is empty.
 */
export type TransitionNotAllowed = {
  code: "transition_not_allowed";
  message: string;
  source: string;
  action: string;
  allowed: string[];
  legal_from: string[];
  unmet: Unmet[];
};

/**
 * The tenant has no such row. A row of another tenant gives the same error. `kind` is campaign,
 * template, owner, contact or tenant. `ids` were not found.
 */
export type NotFound = {
  code: "not_found";
  message: string;
  kind: string;
  ids: string[];
};

/**
 * The row is not in the state that the call needs. The call changed nothing. `reason` is stable:
 * `stale_version` (another call changed the row; load it again), `already_exists`, `read_only` or
 * `still_referred_to`. `message` is for a person.
 */
export type Conflict = {
  code: "conflict";
  message: string;
  reason: string;
};

/**
 * The caller no longer owns these campaign contacts. The call recorded nothing. Roll back the
 * messages that you wrote in this transaction. To book what they cost, call `record(...,
 * on_lost="book")`. `ids` are the ids of the campaign contacts.
 */
export type LeaseLost = {
  code: "lease_lost";
  message: string;
  ids: string[];
};

/**
 * The database will not commit a transaction whose code returned without an error. `reason` is for
 * a person. `__cause__` is the database error that the code caught, if it is known. Nothing was
 * written.
 */
export type TransactionAborted = {
  code: "transaction_aborted";
  message: string;
  reason: string;
};

/** Any error of the library. The code tells which. */
export type CampaignModelError =
  | InvalidDocument
  | InvalidArgument
  | TransitionNotAllowed
  | NotFound
  | Conflict
  | LeaseLost
  | TransactionAborted;

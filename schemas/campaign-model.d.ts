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

/** A change of a campaign's content that is legal only in some statuses. */
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

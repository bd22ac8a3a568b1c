-- Written by `nox -s generate` from campaign_model.db.checks; do not edit.
--
-- Every CHECK constraint of the schema on PostgreSQL, for review. The migrations add them. To add
-- them by hand, run one statement at a time: each ADD locks the table only briefly, and each
-- VALIDATE reads the existing rows while other sessions write.

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_times CHECK (
    least(generation_started_at, generation_completed_at, created_at, updated_at) >= '0001-01-02 00:00:00+00:00'
    AND greatest(generation_started_at, generation_completed_at, created_at, updated_at) <= '9999-12-30 00:00:00+00:00'
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_times;

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_generation_cost CHECK (
    generation_cost < 'Infinity'
    AND generation_cost >= 0
    AND scale(trim_scale(generation_cost)) <= 9
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_generation_cost;

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_name CHECK (
    char_length(name) <= 500
    AND btrim(name, E'\u0009\u000A\u000B\u000C\u000D\u001C\u001D\u001E\u001F\u0020\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000') <> ''
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_name;

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_description CHECK (
    (char_length(description) > 10000) IS NOT TRUE
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_description;

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_status CHECK (
    status IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_status;

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_is_active CHECK (
    is_active OR status = 'archived'
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_is_active;

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_template_config CHECK (
    CASE
    WHEN jsonb_typeof(template_config) = 'array'
    THEN jsonb_array_length(template_config) <= 20
    AND jsonb_array_length(jsonb_path_query_array(template_config, 'strict $[*] ? (@.type() == "object")')) = jsonb_array_length(template_config)
    AND jsonb_array_length(jsonb_path_query_array(template_config, '$[*] ? (@.channel.type() == "string"
        && @.channel like_regex "^[a-z][a-z0-9_]{0,39}$" flag "s"
        && (!exists(@.step)
            || @.step.type() == "null"
            || (@.step.type() == "string" && @.step == "")
            || (@.step.type() == "number" && @.step >= 1))
        && (!exists(@.label) || @.label.type() == "null" || @.label.type() == "string")
        && (!exists(@.enabled)
            || @.enabled.type() == "null"
            || (@.enabled.type() == "string" && @.enabled == "")
            || (@.enabled.type() == "boolean"))
        && (!exists(@.needs_pdf)
            || @.needs_pdf.type() == "null"
            || (@.needs_pdf.type() == "string" && @.needs_pdf == "")
            || (@.needs_pdf.type() == "boolean"))
        && (!exists(@.variant_count)
            || @.variant_count.type() == "null"
            || (@.variant_count.type() == "string" && @.variant_count == "")
            || (@.variant_count.type() == "number" && @.variant_count >= 1 && @.variant_count <= 3))
        && (!exists(@.key)
            || @.key.type() == "null"
            || (@.key.type() == "string" && @.key == "")
            || (@.key.type() == "string" && @.key like_regex "^[A-Za-z0-9_-]{1,40}$" flag "s"))
        && (!exists(@.day_offset)
            || @.day_offset.type() == "null"
            || (@.day_offset.type() == "string" && @.day_offset == "")
            || (@.day_offset.type() == "number" && @.day_offset >= 0 && @.day_offset <= 365))
        && (!exists(@.condition)
            || @.condition.type() == "null"
            || (@.condition.type() == "string" && @.condition == "")
            || (@.condition.type() == "string"
                && (@.condition == "always"
                    || @.condition == "no_response"
                    || @.condition == "opened_not_replied")))
        && (!exists(@.config)
            || @.config.type() == "null"
            || (@.config.type() == "string" && @.config == "")
            || (@.config.type() == "object")))')) = jsonb_array_length(template_config)
    AND jsonb_path_query_array(template_config, '$[*].step')::text !~ '[.]'
    AND jsonb_path_query_array(template_config, '$[*].variant_count')::text !~ '[.]'
    AND jsonb_path_query_array(template_config, '$[*].day_offset')::text !~ '[.]'
    AND jsonb_path_query_array(template_config, '$[*].key ? (@.type() == "string"
        && @ != "")')::text !~ ('("[A-Za-z0-9_-]+").*'
        || chr(92)
        || '1')
    AND NOT coalesce(template_config @@ '($[*].key == "s1"
        && exists($[0] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s2" && exists($[1] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s3" && exists($[2] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s4" && exists($[3] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s5" && exists($[4] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s6" && exists($[5] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s7" && exists($[6] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s8" && exists($[7] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s9" && exists($[8] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s10" && exists($[9] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s11" && exists($[10] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s12" && exists($[11] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s13" && exists($[12] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s14" && exists($[13] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s15" && exists($[14] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s16" && exists($[15] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s17" && exists($[16] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s18" && exists($[17] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s19" && exists($[18] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s20"
            && exists($[19] ? (!exists(@.key) || @.key == null || @.key == "")))', false)
    AND NOT coalesce(jsonb_path_query_array(template_config, '$[*].day_offset ? (@.type() == "number")') @@ '$[0] > $[1]
        || $[1] > $[2]
        || $[2] > $[3]
        || $[3] > $[4]
        || $[4] > $[5]
        || $[5] > $[6]
        || $[6] > $[7]
        || $[7] > $[8]
        || $[8] > $[9]
        || $[9] > $[10]
        || $[10] > $[11]
        || $[11] > $[12]
        || $[12] > $[13]
        || $[13] > $[14]
        || $[14] > $[15]
        || $[15] > $[16]
        || $[16] > $[17]
        || $[17] > $[18]
        || $[18] > $[19]', false)
    AND NOT jsonb_path_exists(template_config, 'strict $.** ? (@.type() == "number"
        && (@ > 1 || @ < -1)
        && (@.double() == 0) is unknown)')
    AND NOT jsonb_path_exists(template_config, 'strict $.**{64 to last}')
    ELSE false
    END
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_template_config;

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_generation_config CHECK (
    CASE
    WHEN jsonb_typeof(generation_config) = 'object'
    THEN coalesce(jsonb_typeof(generation_config->'tone'), 'null') IN ('null', 'string')
    AND (coalesce(generation_config->>'language', '') = ''
        OR (jsonb_typeof(generation_config->'language') = 'string'
            AND generation_config->>'language' ~ '^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$'))
    AND (coalesce(generation_config->>'custom_instructions', '') = ''
        OR (jsonb_typeof(generation_config->'custom_instructions') = 'string'
            AND char_length(generation_config->>'custom_instructions') BETWEEN 0 AND 10000))
    AND (coalesce(generation_config->>'default_variant_count', '') = ''
        OR (jsonb_typeof(generation_config->'default_variant_count') = 'number'
            AND generation_config->>'default_variant_count' IN ('1', '2', '3')))
    AND (coalesce(generation_config->>'budget', '') = ''
        OR (jsonb_typeof(generation_config->'budget') = 'string'
            AND generation_config->>'budget' ~ '^(0|[1-9][0-9]{0,8})([.][0-9]{1,9})?$'))
    AND NOT jsonb_path_exists(generation_config, 'strict $.** ? (@.type() == "number"
        && (@ > 1 || @ < -1)
        && (@.double() == 0) is unknown)')
    AND NOT jsonb_path_exists(generation_config, 'strict $.**{64 to last}')
    ELSE false
    END
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_generation_config;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_times CHECK (
    least(claimed_at, lease_expires_at, retry_at, added_at, generated_at, exported_at) >= '0001-01-02 00:00:00+00:00'
    AND greatest(claimed_at, lease_expires_at, retry_at, added_at, generated_at, exported_at) <= '9999-12-30 00:00:00+00:00'
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_times;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_generation_cost CHECK (
    generation_cost < 'Infinity'
    AND generation_cost >= 0
    AND scale(trim_scale(generation_cost)) <= 9
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_generation_cost;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_reserved CHECK (
    reserved < 'Infinity' AND reserved >= 0 AND scale(trim_scale(reserved)) <= 9
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_reserved;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_error_code CHECK (
    (char_length(error_code) > 500) IS NOT TRUE
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_error_code;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_error CHECK (
    (char_length(error) > 500) IS NOT TRUE
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_error;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_status CHECK (
    status IN ('pending', 'enrichment_ok', 'enrichment_needed', 'generating', 'generated', 'failed', 'excluded')
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_status;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_claim CHECK (
    (claim_token IS NOT NULL OR lease_expires_at IS NULL)
    AND (lease_expires_at IS NOT NULL OR status <> 'generating')
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_claim;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_reported_tokens CHECK (
    jsonb_typeof(reported_tokens) = 'array'
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_reported_tokens;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_enrichment_gaps CHECK (
    enrichment_gaps IS NULL
    OR enrichment_gaps @? 'strict $ ? (@.type() == "array"
        && @.size() <= 1000
        && !exists(@[*] ? (@.type() != "string" || !(@ like_regex "^.{1,200}$" flag "s"))))'
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_enrichment_gaps;

ALTER TABLE campaign_erased_claims ADD CONSTRAINT ck_campaign_erased_claims_times CHECK (
    coalesce(lease_expires_at) IS NULL
    OR (least(lease_expires_at) >= '0001-01-02 00:00:00+00:00'
        AND greatest(lease_expires_at) <= '9999-12-30 00:00:00+00:00')
) NOT VALID;
ALTER TABLE campaign_erased_claims VALIDATE CONSTRAINT ck_campaign_erased_claims_times;

ALTER TABLE campaign_erased_claims ADD CONSTRAINT ck_campaign_erased_claims_reserved CHECK (
    reserved < 'Infinity' AND reserved >= 0 AND scale(trim_scale(reserved)) <= 9
) NOT VALID;
ALTER TABLE campaign_erased_claims VALIDATE CONSTRAINT ck_campaign_erased_claims_reserved;

ALTER TABLE campaign_totals ADD CONSTRAINT ck_campaign_totals_cost CHECK (
    cost < 'Infinity' AND cost > '-Infinity' AND scale(trim_scale(cost)) <= 9
) NOT VALID;
ALTER TABLE campaign_totals VALIDATE CONSTRAINT ck_campaign_totals_cost;

ALTER TABLE campaign_totals ADD CONSTRAINT ck_campaign_totals_erased_cost CHECK (
    erased_cost < 'Infinity' AND erased_cost > '-Infinity' AND scale(trim_scale(erased_cost)) <= 9
) NOT VALID;
ALTER TABLE campaign_totals VALIDATE CONSTRAINT ck_campaign_totals_erased_cost;

ALTER TABLE campaign_totals ADD CONSTRAINT ck_campaign_totals_reserved CHECK (
    reserved < 'Infinity' AND reserved > '-Infinity' AND scale(trim_scale(reserved)) <= 9
) NOT VALID;
ALTER TABLE campaign_totals VALIDATE CONSTRAINT ck_campaign_totals_reserved;

ALTER TABLE campaign_totals ADD CONSTRAINT ck_campaign_totals_unit_reserve CHECK (
    unit_reserve < 'Infinity'
    AND unit_reserve > '-Infinity'
    AND scale(trim_scale(unit_reserve)) <= 9
) NOT VALID;
ALTER TABLE campaign_totals VALIDATE CONSTRAINT ck_campaign_totals_unit_reserve;

ALTER TABLE campaign_history ADD CONSTRAINT ck_campaign_history_times CHECK (
    least(at) >= '0001-01-02 00:00:00+00:00' AND greatest(at) <= '9999-12-30 00:00:00+00:00'
) NOT VALID;
ALTER TABLE campaign_history VALIDATE CONSTRAINT ck_campaign_history_times;

ALTER TABLE campaign_history ADD CONSTRAINT ck_campaign_history_actor CHECK (
    (char_length(actor) > 500) IS NOT TRUE
) NOT VALID;
ALTER TABLE campaign_history VALIDATE CONSTRAINT ck_campaign_history_actor;

ALTER TABLE campaign_history ADD CONSTRAINT ck_campaign_history_reason CHECK (
    action = 'adopted' OR (char_length(reason) > 10000) IS NOT TRUE
) NOT VALID;
ALTER TABLE campaign_history VALIDATE CONSTRAINT ck_campaign_history_reason;

ALTER TABLE campaign_history ADD CONSTRAINT ck_campaign_history_action CHECK (
    action IN ('mark_ready', 'return_to_draft', 'start_generation', 'submit_for_review', 'complete_generation', 'cancel_generation', 'request_changes', 'approve', 'reopen_review', 'export', 'archive', 'delete', 'adopted')
) NOT VALID;
ALTER TABLE campaign_history VALIDATE CONSTRAINT ck_campaign_history_action;

ALTER TABLE campaign_history ADD CONSTRAINT ck_campaign_history_source CHECK (
    source IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')
) NOT VALID;
ALTER TABLE campaign_history VALIDATE CONSTRAINT ck_campaign_history_source;

ALTER TABLE campaign_history ADD CONSTRAINT ck_campaign_history_target CHECK (
    target IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')
) NOT VALID;
ALTER TABLE campaign_history VALIDATE CONSTRAINT ck_campaign_history_target;

ALTER TABLE campaign_templates ADD CONSTRAINT ck_campaign_templates_times CHECK (
    least(created_at, updated_at) >= '0001-01-02 00:00:00+00:00'
    AND greatest(created_at, updated_at) <= '9999-12-30 00:00:00+00:00'
) NOT VALID;
ALTER TABLE campaign_templates VALIDATE CONSTRAINT ck_campaign_templates_times;

ALTER TABLE campaign_templates ADD CONSTRAINT ck_campaign_templates_name CHECK (
    char_length(name) <= 500
    AND btrim(name, E'\u0009\u000A\u000B\u000C\u000D\u001C\u001D\u001E\u001F\u0020\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000') <> ''
) NOT VALID;
ALTER TABLE campaign_templates VALIDATE CONSTRAINT ck_campaign_templates_name;

ALTER TABLE campaign_templates ADD CONSTRAINT ck_campaign_templates_description CHECK (
    (char_length(description) > 10000) IS NOT TRUE
) NOT VALID;
ALTER TABLE campaign_templates VALIDATE CONSTRAINT ck_campaign_templates_description;

ALTER TABLE campaign_templates ADD CONSTRAINT ck_campaign_templates_is_system CHECK (
    is_system = (tenant_id IS NULL)
) NOT VALID;
ALTER TABLE campaign_templates VALIDATE CONSTRAINT ck_campaign_templates_is_system;

ALTER TABLE campaign_templates ADD CONSTRAINT ck_campaign_templates_steps CHECK (
    CASE
    WHEN jsonb_typeof(steps) = 'array'
    THEN jsonb_array_length(steps) <= 20
    AND jsonb_array_length(jsonb_path_query_array(steps, 'strict $[*] ? (@.type() == "object")')) = jsonb_array_length(steps)
    AND jsonb_array_length(jsonb_path_query_array(steps, '$[*] ? (@.channel.type() == "string"
        && @.channel like_regex "^[a-z][a-z0-9_]{0,39}$" flag "s"
        && (!exists(@.step)
            || @.step.type() == "null"
            || (@.step.type() == "string" && @.step == "")
            || (@.step.type() == "number" && @.step >= 1))
        && (!exists(@.label) || @.label.type() == "null" || @.label.type() == "string")
        && (!exists(@.enabled)
            || @.enabled.type() == "null"
            || (@.enabled.type() == "string" && @.enabled == "")
            || (@.enabled.type() == "boolean"))
        && (!exists(@.needs_pdf)
            || @.needs_pdf.type() == "null"
            || (@.needs_pdf.type() == "string" && @.needs_pdf == "")
            || (@.needs_pdf.type() == "boolean"))
        && (!exists(@.variant_count)
            || @.variant_count.type() == "null"
            || (@.variant_count.type() == "string" && @.variant_count == "")
            || (@.variant_count.type() == "number" && @.variant_count >= 1 && @.variant_count <= 3))
        && (!exists(@.key)
            || @.key.type() == "null"
            || (@.key.type() == "string" && @.key == "")
            || (@.key.type() == "string" && @.key like_regex "^[A-Za-z0-9_-]{1,40}$" flag "s"))
        && (!exists(@.day_offset)
            || @.day_offset.type() == "null"
            || (@.day_offset.type() == "string" && @.day_offset == "")
            || (@.day_offset.type() == "number" && @.day_offset >= 0 && @.day_offset <= 365))
        && (!exists(@.condition)
            || @.condition.type() == "null"
            || (@.condition.type() == "string" && @.condition == "")
            || (@.condition.type() == "string"
                && (@.condition == "always"
                    || @.condition == "no_response"
                    || @.condition == "opened_not_replied")))
        && (!exists(@.config)
            || @.config.type() == "null"
            || (@.config.type() == "string" && @.config == "")
            || (@.config.type() == "object")))')) = jsonb_array_length(steps)
    AND jsonb_path_query_array(steps, '$[*].step')::text !~ '[.]'
    AND jsonb_path_query_array(steps, '$[*].variant_count')::text !~ '[.]'
    AND jsonb_path_query_array(steps, '$[*].day_offset')::text !~ '[.]'
    AND jsonb_path_query_array(steps, '$[*].key ? (@.type() == "string"
        && @ != "")')::text !~ ('("[A-Za-z0-9_-]+").*'
        || chr(92)
        || '1')
    AND NOT coalesce(steps @@ '($[*].key == "s1"
        && exists($[0] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s2" && exists($[1] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s3" && exists($[2] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s4" && exists($[3] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s5" && exists($[4] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s6" && exists($[5] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s7" && exists($[6] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s8" && exists($[7] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s9" && exists($[8] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s10" && exists($[9] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s11" && exists($[10] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s12" && exists($[11] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s13" && exists($[12] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s14" && exists($[13] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s15" && exists($[14] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s16" && exists($[15] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s17" && exists($[16] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s18" && exists($[17] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s19" && exists($[18] ? (!exists(@.key) || @.key == null || @.key == "")))
        || ($[*].key == "s20"
            && exists($[19] ? (!exists(@.key) || @.key == null || @.key == "")))', false)
    AND NOT coalesce(jsonb_path_query_array(steps, '$[*].day_offset ? (@.type() == "number")') @@ '$[0] > $[1]
        || $[1] > $[2]
        || $[2] > $[3]
        || $[3] > $[4]
        || $[4] > $[5]
        || $[5] > $[6]
        || $[6] > $[7]
        || $[7] > $[8]
        || $[8] > $[9]
        || $[9] > $[10]
        || $[10] > $[11]
        || $[11] > $[12]
        || $[12] > $[13]
        || $[13] > $[14]
        || $[14] > $[15]
        || $[15] > $[16]
        || $[16] > $[17]
        || $[17] > $[18]
        || $[18] > $[19]', false)
    AND NOT jsonb_path_exists(steps, 'strict $.** ? (@.type() == "number"
        && (@ > 1 || @ < -1)
        && (@.double() == 0) is unknown)')
    AND NOT jsonb_path_exists(steps, 'strict $.**{64 to last}')
    ELSE false
    END
) NOT VALID;
ALTER TABLE campaign_templates VALIDATE CONSTRAINT ck_campaign_templates_steps;

ALTER TABLE campaign_templates ADD CONSTRAINT ck_campaign_templates_default_config CHECK (
    CASE
    WHEN jsonb_typeof(default_config) = 'object'
    THEN coalesce(jsonb_typeof(default_config->'tone'), 'null') IN ('null', 'string')
    AND (coalesce(default_config->>'language', '') = ''
        OR (jsonb_typeof(default_config->'language') = 'string'
            AND default_config->>'language' ~ '^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$'))
    AND (coalesce(default_config->>'custom_instructions', '') = ''
        OR (jsonb_typeof(default_config->'custom_instructions') = 'string'
            AND char_length(default_config->>'custom_instructions') BETWEEN 0 AND 10000))
    AND (coalesce(default_config->>'default_variant_count', '') = ''
        OR (jsonb_typeof(default_config->'default_variant_count') = 'number'
            AND default_config->>'default_variant_count' IN ('1', '2', '3')))
    AND (coalesce(default_config->>'budget', '') = ''
        OR (jsonb_typeof(default_config->'budget') = 'string'
            AND default_config->>'budget' ~ '^(0|[1-9][0-9]{0,8})([.][0-9]{1,9})?$'))
    AND NOT jsonb_path_exists(default_config, 'strict $.** ? (@.type() == "number"
        && (@ > 1 || @ < -1)
        && (@.double() == 0) is unknown)')
    AND NOT jsonb_path_exists(default_config, 'strict $.**{64 to last}')
    ELSE false
    END
) NOT VALID;
ALTER TABLE campaign_templates VALIDATE CONSTRAINT ck_campaign_templates_default_config;

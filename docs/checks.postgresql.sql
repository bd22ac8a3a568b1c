-- Written by `nox -s generate` from campaign_model.db.checks; do not edit.
--
-- Every CHECK constraint of the schema on PostgreSQL, for review. The migrations add them. To add
-- them by hand, run one statement at a time: each ADD locks the table only briefly, and each
-- VALIDATE reads the existing rows while other sessions write.

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
    ELSE false
    END
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_generation_config;

ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_generation_cost CHECK (
    generation_cost < 'Infinity'
    AND generation_cost >= 0
    AND scale(trim_scale(generation_cost)) <= 9
) NOT VALID;
ALTER TABLE campaigns VALIDATE CONSTRAINT ck_campaigns_generation_cost;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_status CHECK (
    status IN ('pending', 'enrichment_ok', 'enrichment_needed', 'generating', 'generated', 'failed', 'excluded')
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_status;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_reported_tokens CHECK (
    jsonb_typeof(reported_tokens) = 'array'
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_reported_tokens;

ALTER TABLE campaign_contacts ADD CONSTRAINT ck_campaign_contacts_enrichment_gaps CHECK (
    enrichment_gaps IS NULL OR jsonb_typeof(enrichment_gaps) = 'array'
) NOT VALID;
ALTER TABLE campaign_contacts VALIDATE CONSTRAINT ck_campaign_contacts_enrichment_gaps;

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
    ELSE false
    END
) NOT VALID;
ALTER TABLE campaign_templates VALIDATE CONSTRAINT ck_campaign_templates_default_config;

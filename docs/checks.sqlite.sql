-- Written by `nox -s generate` from campaign_model.db.checks; do not edit.
--
-- Every CHECK constraint of the schema on SQLite, for review. They are part of CREATE TABLE: SQLite
-- cannot add a constraint to a table. It also allows no subquery in a constraint, so the condition
-- on a step is repeated for every position.

-- on campaigns
CONSTRAINT ck_campaigns_id CHECK (
    typeof(id) = 'text' AND length(CAST(id AS BLOB)) = 32 AND id NOT GLOB '*[^0-9a-f]*'
)

-- on campaigns
CONSTRAINT ck_campaigns_tenant_id CHECK (
    typeof(tenant_id) = 'text'
    AND length(CAST(tenant_id AS BLOB)) = 32
    AND tenant_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaigns
CONSTRAINT ck_campaigns_owner_id CHECK (
    owner_id IS NULL
    OR (typeof(owner_id) = 'text'
        AND length(CAST(owner_id AS BLOB)) = 32
        AND owner_id NOT GLOB '*[^0-9a-f]*')
)

-- on campaigns
CONSTRAINT ck_campaigns_name CHECK (
    typeof(name) = 'text'
    AND instr(name, char(0)) = 0
    AND length(name) <= 500
    AND trim(name, char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) <> ''
)

-- on campaigns
CONSTRAINT ck_campaigns_description CHECK (
    description IS NULL
    OR (typeof(description) = 'text'
        AND instr(description, char(0)) = 0
        AND length(description) <= 10000)
)

-- on campaigns
CONSTRAINT ck_campaigns_status CHECK (
    status IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')
)

-- on campaigns
CONSTRAINT ck_campaigns_is_active CHECK (
    is_active IN (0, 1) AND (is_active OR status = 'archived')
)

-- on campaigns
CONSTRAINT ck_campaigns_template_id CHECK (
    template_id IS NULL
    OR (typeof(template_id) = 'text'
        AND length(CAST(template_id AS BLOB)) = 32
        AND template_id NOT GLOB '*[^0-9a-f]*')
)

-- on campaigns
CONSTRAINT ck_campaigns_template_config CHECK (
    CASE
    WHEN NOT json_valid(template_config)
    THEN 0
    WHEN json_type(template_config) <> 'array'
    THEN 0
    WHEN json_array_length(template_config) > 20
    THEN 0
    WHEN NOT (typeof(template_config) = 'text'
        AND instr(template_config, char(0)) = 0
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\u0000*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\u005[fF]*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\u006[1-9a-fA-F]*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\u007[0-9aA]*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??[^\]*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\[^u]*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[^dD]*'
        AND replace('//////'
            || template_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[dD][^c-fC-F]*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*[^\]?????\u[dD][c-fC-F]*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\[^u]????\u[dD][c-fC-F]*'
        AND replace('//////' || template_config, '\\', '//') NOT GLOB '*\u[^dD]???\u[dD][c-fC-F]*'
        AND replace('//////'
            || template_config, '\\', '//') NOT GLOB '*\u[dD][^89abAB]??\u[dD][c-fC-F]*'
        AND (json_array_length(template_config) <= 0
            OR (coalesce(json_type(template_config, '$[0]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[0].channel'), '') = 'text'
                AND json_type(template_config, '$[0].channel') = 'text'
                AND length(json_extract(template_config, '$[0].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[0].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[0].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[0].step'), '') = ''
                    OR (json_type(template_config, '$[0].step') = 'integer'
                        AND json_extract(template_config, '$[0].step') >= 1))
                AND coalesce(json_type(template_config, '$[0].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[0].enabled'), '') = ''
                    OR (json_type(template_config, '$[0].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[0].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[0].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[0].variant_count'), '') = ''
                    OR (json_type(template_config, '$[0].variant_count') = 'integer'
                        AND json_extract(template_config, '$[0].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[0].key'), '') = ''
                    OR (json_type(template_config, '$[0].key') = 'text'
                        AND length(json_extract(template_config, '$[0].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[0].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[0].day_offset'), '') = ''
                    OR (json_type(template_config, '$[0].day_offset') = 'integer'
                        AND json_extract(template_config, '$[0].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[0].condition'), '') = ''
                    OR (json_type(template_config, '$[0].condition') = 'text'
                        AND json_extract(template_config, '$[0].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[0].config'), '') = ''
                    OR (json_type(template_config, '$[0].config') = 'object'))))
        AND (json_array_length(template_config) <= 1
            OR (coalesce(json_type(template_config, '$[1]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[1].channel'), '') = 'text'
                AND json_type(template_config, '$[1].channel') = 'text'
                AND length(json_extract(template_config, '$[1].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[1].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[1].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[1].step'), '') = ''
                    OR (json_type(template_config, '$[1].step') = 'integer'
                        AND json_extract(template_config, '$[1].step') >= 1))
                AND coalesce(json_type(template_config, '$[1].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[1].enabled'), '') = ''
                    OR (json_type(template_config, '$[1].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[1].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[1].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[1].variant_count'), '') = ''
                    OR (json_type(template_config, '$[1].variant_count') = 'integer'
                        AND json_extract(template_config, '$[1].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[1].key'), '') = ''
                    OR (json_type(template_config, '$[1].key') = 'text'
                        AND length(json_extract(template_config, '$[1].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[1].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[1].day_offset'), '') = ''
                    OR (json_type(template_config, '$[1].day_offset') = 'integer'
                        AND json_extract(template_config, '$[1].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[1].condition'), '') = ''
                    OR (json_type(template_config, '$[1].condition') = 'text'
                        AND json_extract(template_config, '$[1].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[1].config'), '') = ''
                    OR (json_type(template_config, '$[1].config') = 'object'))))
        AND (json_array_length(template_config) <= 2
            OR (coalesce(json_type(template_config, '$[2]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[2].channel'), '') = 'text'
                AND json_type(template_config, '$[2].channel') = 'text'
                AND length(json_extract(template_config, '$[2].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[2].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[2].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[2].step'), '') = ''
                    OR (json_type(template_config, '$[2].step') = 'integer'
                        AND json_extract(template_config, '$[2].step') >= 1))
                AND coalesce(json_type(template_config, '$[2].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[2].enabled'), '') = ''
                    OR (json_type(template_config, '$[2].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[2].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[2].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[2].variant_count'), '') = ''
                    OR (json_type(template_config, '$[2].variant_count') = 'integer'
                        AND json_extract(template_config, '$[2].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[2].key'), '') = ''
                    OR (json_type(template_config, '$[2].key') = 'text'
                        AND length(json_extract(template_config, '$[2].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[2].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[2].day_offset'), '') = ''
                    OR (json_type(template_config, '$[2].day_offset') = 'integer'
                        AND json_extract(template_config, '$[2].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[2].condition'), '') = ''
                    OR (json_type(template_config, '$[2].condition') = 'text'
                        AND json_extract(template_config, '$[2].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[2].config'), '') = ''
                    OR (json_type(template_config, '$[2].config') = 'object'))))
        AND (json_array_length(template_config) <= 3
            OR (coalesce(json_type(template_config, '$[3]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[3].channel'), '') = 'text'
                AND json_type(template_config, '$[3].channel') = 'text'
                AND length(json_extract(template_config, '$[3].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[3].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[3].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[3].step'), '') = ''
                    OR (json_type(template_config, '$[3].step') = 'integer'
                        AND json_extract(template_config, '$[3].step') >= 1))
                AND coalesce(json_type(template_config, '$[3].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[3].enabled'), '') = ''
                    OR (json_type(template_config, '$[3].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[3].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[3].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[3].variant_count'), '') = ''
                    OR (json_type(template_config, '$[3].variant_count') = 'integer'
                        AND json_extract(template_config, '$[3].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[3].key'), '') = ''
                    OR (json_type(template_config, '$[3].key') = 'text'
                        AND length(json_extract(template_config, '$[3].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[3].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[3].day_offset'), '') = ''
                    OR (json_type(template_config, '$[3].day_offset') = 'integer'
                        AND json_extract(template_config, '$[3].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[3].condition'), '') = ''
                    OR (json_type(template_config, '$[3].condition') = 'text'
                        AND json_extract(template_config, '$[3].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[3].config'), '') = ''
                    OR (json_type(template_config, '$[3].config') = 'object'))))
        AND (json_array_length(template_config) <= 4
            OR (coalesce(json_type(template_config, '$[4]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[4].channel'), '') = 'text'
                AND json_type(template_config, '$[4].channel') = 'text'
                AND length(json_extract(template_config, '$[4].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[4].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[4].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[4].step'), '') = ''
                    OR (json_type(template_config, '$[4].step') = 'integer'
                        AND json_extract(template_config, '$[4].step') >= 1))
                AND coalesce(json_type(template_config, '$[4].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[4].enabled'), '') = ''
                    OR (json_type(template_config, '$[4].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[4].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[4].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[4].variant_count'), '') = ''
                    OR (json_type(template_config, '$[4].variant_count') = 'integer'
                        AND json_extract(template_config, '$[4].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[4].key'), '') = ''
                    OR (json_type(template_config, '$[4].key') = 'text'
                        AND length(json_extract(template_config, '$[4].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[4].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[4].day_offset'), '') = ''
                    OR (json_type(template_config, '$[4].day_offset') = 'integer'
                        AND json_extract(template_config, '$[4].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[4].condition'), '') = ''
                    OR (json_type(template_config, '$[4].condition') = 'text'
                        AND json_extract(template_config, '$[4].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[4].config'), '') = ''
                    OR (json_type(template_config, '$[4].config') = 'object'))))
        AND (json_array_length(template_config) <= 5
            OR (coalesce(json_type(template_config, '$[5]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[5].channel'), '') = 'text'
                AND json_type(template_config, '$[5].channel') = 'text'
                AND length(json_extract(template_config, '$[5].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[5].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[5].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[5].step'), '') = ''
                    OR (json_type(template_config, '$[5].step') = 'integer'
                        AND json_extract(template_config, '$[5].step') >= 1))
                AND coalesce(json_type(template_config, '$[5].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[5].enabled'), '') = ''
                    OR (json_type(template_config, '$[5].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[5].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[5].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[5].variant_count'), '') = ''
                    OR (json_type(template_config, '$[5].variant_count') = 'integer'
                        AND json_extract(template_config, '$[5].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[5].key'), '') = ''
                    OR (json_type(template_config, '$[5].key') = 'text'
                        AND length(json_extract(template_config, '$[5].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[5].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[5].day_offset'), '') = ''
                    OR (json_type(template_config, '$[5].day_offset') = 'integer'
                        AND json_extract(template_config, '$[5].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[5].condition'), '') = ''
                    OR (json_type(template_config, '$[5].condition') = 'text'
                        AND json_extract(template_config, '$[5].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[5].config'), '') = ''
                    OR (json_type(template_config, '$[5].config') = 'object'))))
        AND (json_array_length(template_config) <= 6
            OR (coalesce(json_type(template_config, '$[6]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[6].channel'), '') = 'text'
                AND json_type(template_config, '$[6].channel') = 'text'
                AND length(json_extract(template_config, '$[6].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[6].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[6].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[6].step'), '') = ''
                    OR (json_type(template_config, '$[6].step') = 'integer'
                        AND json_extract(template_config, '$[6].step') >= 1))
                AND coalesce(json_type(template_config, '$[6].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[6].enabled'), '') = ''
                    OR (json_type(template_config, '$[6].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[6].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[6].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[6].variant_count'), '') = ''
                    OR (json_type(template_config, '$[6].variant_count') = 'integer'
                        AND json_extract(template_config, '$[6].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[6].key'), '') = ''
                    OR (json_type(template_config, '$[6].key') = 'text'
                        AND length(json_extract(template_config, '$[6].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[6].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[6].day_offset'), '') = ''
                    OR (json_type(template_config, '$[6].day_offset') = 'integer'
                        AND json_extract(template_config, '$[6].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[6].condition'), '') = ''
                    OR (json_type(template_config, '$[6].condition') = 'text'
                        AND json_extract(template_config, '$[6].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[6].config'), '') = ''
                    OR (json_type(template_config, '$[6].config') = 'object'))))
        AND (json_array_length(template_config) <= 7
            OR (coalesce(json_type(template_config, '$[7]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[7].channel'), '') = 'text'
                AND json_type(template_config, '$[7].channel') = 'text'
                AND length(json_extract(template_config, '$[7].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[7].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[7].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[7].step'), '') = ''
                    OR (json_type(template_config, '$[7].step') = 'integer'
                        AND json_extract(template_config, '$[7].step') >= 1))
                AND coalesce(json_type(template_config, '$[7].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[7].enabled'), '') = ''
                    OR (json_type(template_config, '$[7].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[7].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[7].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[7].variant_count'), '') = ''
                    OR (json_type(template_config, '$[7].variant_count') = 'integer'
                        AND json_extract(template_config, '$[7].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[7].key'), '') = ''
                    OR (json_type(template_config, '$[7].key') = 'text'
                        AND length(json_extract(template_config, '$[7].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[7].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[7].day_offset'), '') = ''
                    OR (json_type(template_config, '$[7].day_offset') = 'integer'
                        AND json_extract(template_config, '$[7].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[7].condition'), '') = ''
                    OR (json_type(template_config, '$[7].condition') = 'text'
                        AND json_extract(template_config, '$[7].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[7].config'), '') = ''
                    OR (json_type(template_config, '$[7].config') = 'object'))))
        AND (json_array_length(template_config) <= 8
            OR (coalesce(json_type(template_config, '$[8]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[8].channel'), '') = 'text'
                AND json_type(template_config, '$[8].channel') = 'text'
                AND length(json_extract(template_config, '$[8].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[8].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[8].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[8].step'), '') = ''
                    OR (json_type(template_config, '$[8].step') = 'integer'
                        AND json_extract(template_config, '$[8].step') >= 1))
                AND coalesce(json_type(template_config, '$[8].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[8].enabled'), '') = ''
                    OR (json_type(template_config, '$[8].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[8].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[8].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[8].variant_count'), '') = ''
                    OR (json_type(template_config, '$[8].variant_count') = 'integer'
                        AND json_extract(template_config, '$[8].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[8].key'), '') = ''
                    OR (json_type(template_config, '$[8].key') = 'text'
                        AND length(json_extract(template_config, '$[8].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[8].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[8].day_offset'), '') = ''
                    OR (json_type(template_config, '$[8].day_offset') = 'integer'
                        AND json_extract(template_config, '$[8].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[8].condition'), '') = ''
                    OR (json_type(template_config, '$[8].condition') = 'text'
                        AND json_extract(template_config, '$[8].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[8].config'), '') = ''
                    OR (json_type(template_config, '$[8].config') = 'object'))))
        AND (json_array_length(template_config) <= 9
            OR (coalesce(json_type(template_config, '$[9]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[9].channel'), '') = 'text'
                AND json_type(template_config, '$[9].channel') = 'text'
                AND length(json_extract(template_config, '$[9].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[9].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[9].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[9].step'), '') = ''
                    OR (json_type(template_config, '$[9].step') = 'integer'
                        AND json_extract(template_config, '$[9].step') >= 1))
                AND coalesce(json_type(template_config, '$[9].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[9].enabled'), '') = ''
                    OR (json_type(template_config, '$[9].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[9].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[9].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[9].variant_count'), '') = ''
                    OR (json_type(template_config, '$[9].variant_count') = 'integer'
                        AND json_extract(template_config, '$[9].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[9].key'), '') = ''
                    OR (json_type(template_config, '$[9].key') = 'text'
                        AND length(json_extract(template_config, '$[9].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[9].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[9].day_offset'), '') = ''
                    OR (json_type(template_config, '$[9].day_offset') = 'integer'
                        AND json_extract(template_config, '$[9].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[9].condition'), '') = ''
                    OR (json_type(template_config, '$[9].condition') = 'text'
                        AND json_extract(template_config, '$[9].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[9].config'), '') = ''
                    OR (json_type(template_config, '$[9].config') = 'object'))))
        AND (json_array_length(template_config) <= 10
            OR (coalesce(json_type(template_config, '$[10]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[10].channel'), '') = 'text'
                AND json_type(template_config, '$[10].channel') = 'text'
                AND length(json_extract(template_config, '$[10].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[10].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[10].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[10].step'), '') = ''
                    OR (json_type(template_config, '$[10].step') = 'integer'
                        AND json_extract(template_config, '$[10].step') >= 1))
                AND coalesce(json_type(template_config, '$[10].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[10].enabled'), '') = ''
                    OR (json_type(template_config, '$[10].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[10].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[10].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[10].variant_count'), '') = ''
                    OR (json_type(template_config, '$[10].variant_count') = 'integer'
                        AND json_extract(template_config, '$[10].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[10].key'), '') = ''
                    OR (json_type(template_config, '$[10].key') = 'text'
                        AND length(json_extract(template_config, '$[10].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[10].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[10].day_offset'), '') = ''
                    OR (json_type(template_config, '$[10].day_offset') = 'integer'
                        AND json_extract(template_config, '$[10].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[10].condition'), '') = ''
                    OR (json_type(template_config, '$[10].condition') = 'text'
                        AND json_extract(template_config, '$[10].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[10].config'), '') = ''
                    OR (json_type(template_config, '$[10].config') = 'object'))))
        AND (json_array_length(template_config) <= 11
            OR (coalesce(json_type(template_config, '$[11]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[11].channel'), '') = 'text'
                AND json_type(template_config, '$[11].channel') = 'text'
                AND length(json_extract(template_config, '$[11].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[11].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[11].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[11].step'), '') = ''
                    OR (json_type(template_config, '$[11].step') = 'integer'
                        AND json_extract(template_config, '$[11].step') >= 1))
                AND coalesce(json_type(template_config, '$[11].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[11].enabled'), '') = ''
                    OR (json_type(template_config, '$[11].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[11].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[11].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[11].variant_count'), '') = ''
                    OR (json_type(template_config, '$[11].variant_count') = 'integer'
                        AND json_extract(template_config, '$[11].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[11].key'), '') = ''
                    OR (json_type(template_config, '$[11].key') = 'text'
                        AND length(json_extract(template_config, '$[11].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[11].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[11].day_offset'), '') = ''
                    OR (json_type(template_config, '$[11].day_offset') = 'integer'
                        AND json_extract(template_config, '$[11].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[11].condition'), '') = ''
                    OR (json_type(template_config, '$[11].condition') = 'text'
                        AND json_extract(template_config, '$[11].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[11].config'), '') = ''
                    OR (json_type(template_config, '$[11].config') = 'object'))))
        AND (json_array_length(template_config) <= 12
            OR (coalesce(json_type(template_config, '$[12]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[12].channel'), '') = 'text'
                AND json_type(template_config, '$[12].channel') = 'text'
                AND length(json_extract(template_config, '$[12].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[12].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[12].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[12].step'), '') = ''
                    OR (json_type(template_config, '$[12].step') = 'integer'
                        AND json_extract(template_config, '$[12].step') >= 1))
                AND coalesce(json_type(template_config, '$[12].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[12].enabled'), '') = ''
                    OR (json_type(template_config, '$[12].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[12].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[12].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[12].variant_count'), '') = ''
                    OR (json_type(template_config, '$[12].variant_count') = 'integer'
                        AND json_extract(template_config, '$[12].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[12].key'), '') = ''
                    OR (json_type(template_config, '$[12].key') = 'text'
                        AND length(json_extract(template_config, '$[12].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[12].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[12].day_offset'), '') = ''
                    OR (json_type(template_config, '$[12].day_offset') = 'integer'
                        AND json_extract(template_config, '$[12].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[12].condition'), '') = ''
                    OR (json_type(template_config, '$[12].condition') = 'text'
                        AND json_extract(template_config, '$[12].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[12].config'), '') = ''
                    OR (json_type(template_config, '$[12].config') = 'object'))))
        AND (json_array_length(template_config) <= 13
            OR (coalesce(json_type(template_config, '$[13]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[13].channel'), '') = 'text'
                AND json_type(template_config, '$[13].channel') = 'text'
                AND length(json_extract(template_config, '$[13].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[13].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[13].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[13].step'), '') = ''
                    OR (json_type(template_config, '$[13].step') = 'integer'
                        AND json_extract(template_config, '$[13].step') >= 1))
                AND coalesce(json_type(template_config, '$[13].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[13].enabled'), '') = ''
                    OR (json_type(template_config, '$[13].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[13].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[13].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[13].variant_count'), '') = ''
                    OR (json_type(template_config, '$[13].variant_count') = 'integer'
                        AND json_extract(template_config, '$[13].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[13].key'), '') = ''
                    OR (json_type(template_config, '$[13].key') = 'text'
                        AND length(json_extract(template_config, '$[13].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[13].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[13].day_offset'), '') = ''
                    OR (json_type(template_config, '$[13].day_offset') = 'integer'
                        AND json_extract(template_config, '$[13].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[13].condition'), '') = ''
                    OR (json_type(template_config, '$[13].condition') = 'text'
                        AND json_extract(template_config, '$[13].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[13].config'), '') = ''
                    OR (json_type(template_config, '$[13].config') = 'object'))))
        AND (json_array_length(template_config) <= 14
            OR (coalesce(json_type(template_config, '$[14]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[14].channel'), '') = 'text'
                AND json_type(template_config, '$[14].channel') = 'text'
                AND length(json_extract(template_config, '$[14].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[14].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[14].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[14].step'), '') = ''
                    OR (json_type(template_config, '$[14].step') = 'integer'
                        AND json_extract(template_config, '$[14].step') >= 1))
                AND coalesce(json_type(template_config, '$[14].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[14].enabled'), '') = ''
                    OR (json_type(template_config, '$[14].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[14].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[14].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[14].variant_count'), '') = ''
                    OR (json_type(template_config, '$[14].variant_count') = 'integer'
                        AND json_extract(template_config, '$[14].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[14].key'), '') = ''
                    OR (json_type(template_config, '$[14].key') = 'text'
                        AND length(json_extract(template_config, '$[14].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[14].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[14].day_offset'), '') = ''
                    OR (json_type(template_config, '$[14].day_offset') = 'integer'
                        AND json_extract(template_config, '$[14].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[14].condition'), '') = ''
                    OR (json_type(template_config, '$[14].condition') = 'text'
                        AND json_extract(template_config, '$[14].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[14].config'), '') = ''
                    OR (json_type(template_config, '$[14].config') = 'object'))))
        AND (json_array_length(template_config) <= 15
            OR (coalesce(json_type(template_config, '$[15]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[15].channel'), '') = 'text'
                AND json_type(template_config, '$[15].channel') = 'text'
                AND length(json_extract(template_config, '$[15].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[15].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[15].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[15].step'), '') = ''
                    OR (json_type(template_config, '$[15].step') = 'integer'
                        AND json_extract(template_config, '$[15].step') >= 1))
                AND coalesce(json_type(template_config, '$[15].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[15].enabled'), '') = ''
                    OR (json_type(template_config, '$[15].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[15].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[15].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[15].variant_count'), '') = ''
                    OR (json_type(template_config, '$[15].variant_count') = 'integer'
                        AND json_extract(template_config, '$[15].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[15].key'), '') = ''
                    OR (json_type(template_config, '$[15].key') = 'text'
                        AND length(json_extract(template_config, '$[15].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[15].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[15].day_offset'), '') = ''
                    OR (json_type(template_config, '$[15].day_offset') = 'integer'
                        AND json_extract(template_config, '$[15].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[15].condition'), '') = ''
                    OR (json_type(template_config, '$[15].condition') = 'text'
                        AND json_extract(template_config, '$[15].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[15].config'), '') = ''
                    OR (json_type(template_config, '$[15].config') = 'object'))))
        AND (json_array_length(template_config) <= 16
            OR (coalesce(json_type(template_config, '$[16]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[16].channel'), '') = 'text'
                AND json_type(template_config, '$[16].channel') = 'text'
                AND length(json_extract(template_config, '$[16].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[16].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[16].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[16].step'), '') = ''
                    OR (json_type(template_config, '$[16].step') = 'integer'
                        AND json_extract(template_config, '$[16].step') >= 1))
                AND coalesce(json_type(template_config, '$[16].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[16].enabled'), '') = ''
                    OR (json_type(template_config, '$[16].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[16].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[16].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[16].variant_count'), '') = ''
                    OR (json_type(template_config, '$[16].variant_count') = 'integer'
                        AND json_extract(template_config, '$[16].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[16].key'), '') = ''
                    OR (json_type(template_config, '$[16].key') = 'text'
                        AND length(json_extract(template_config, '$[16].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[16].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[16].day_offset'), '') = ''
                    OR (json_type(template_config, '$[16].day_offset') = 'integer'
                        AND json_extract(template_config, '$[16].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[16].condition'), '') = ''
                    OR (json_type(template_config, '$[16].condition') = 'text'
                        AND json_extract(template_config, '$[16].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[16].config'), '') = ''
                    OR (json_type(template_config, '$[16].config') = 'object'))))
        AND (json_array_length(template_config) <= 17
            OR (coalesce(json_type(template_config, '$[17]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[17].channel'), '') = 'text'
                AND json_type(template_config, '$[17].channel') = 'text'
                AND length(json_extract(template_config, '$[17].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[17].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[17].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[17].step'), '') = ''
                    OR (json_type(template_config, '$[17].step') = 'integer'
                        AND json_extract(template_config, '$[17].step') >= 1))
                AND coalesce(json_type(template_config, '$[17].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[17].enabled'), '') = ''
                    OR (json_type(template_config, '$[17].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[17].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[17].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[17].variant_count'), '') = ''
                    OR (json_type(template_config, '$[17].variant_count') = 'integer'
                        AND json_extract(template_config, '$[17].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[17].key'), '') = ''
                    OR (json_type(template_config, '$[17].key') = 'text'
                        AND length(json_extract(template_config, '$[17].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[17].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[17].day_offset'), '') = ''
                    OR (json_type(template_config, '$[17].day_offset') = 'integer'
                        AND json_extract(template_config, '$[17].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[17].condition'), '') = ''
                    OR (json_type(template_config, '$[17].condition') = 'text'
                        AND json_extract(template_config, '$[17].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[17].config'), '') = ''
                    OR (json_type(template_config, '$[17].config') = 'object'))))
        AND (json_array_length(template_config) <= 18
            OR (coalesce(json_type(template_config, '$[18]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[18].channel'), '') = 'text'
                AND json_type(template_config, '$[18].channel') = 'text'
                AND length(json_extract(template_config, '$[18].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[18].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[18].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[18].step'), '') = ''
                    OR (json_type(template_config, '$[18].step') = 'integer'
                        AND json_extract(template_config, '$[18].step') >= 1))
                AND coalesce(json_type(template_config, '$[18].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[18].enabled'), '') = ''
                    OR (json_type(template_config, '$[18].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[18].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[18].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[18].variant_count'), '') = ''
                    OR (json_type(template_config, '$[18].variant_count') = 'integer'
                        AND json_extract(template_config, '$[18].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[18].key'), '') = ''
                    OR (json_type(template_config, '$[18].key') = 'text'
                        AND length(json_extract(template_config, '$[18].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[18].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[18].day_offset'), '') = ''
                    OR (json_type(template_config, '$[18].day_offset') = 'integer'
                        AND json_extract(template_config, '$[18].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[18].condition'), '') = ''
                    OR (json_type(template_config, '$[18].condition') = 'text'
                        AND json_extract(template_config, '$[18].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[18].config'), '') = ''
                    OR (json_type(template_config, '$[18].config') = 'object'))))
        AND (json_array_length(template_config) <= 19
            OR (coalesce(json_type(template_config, '$[19]'), '') = 'object'
                AND coalesce(json_type(template_config, '$[19].channel'), '') = 'text'
                AND json_type(template_config, '$[19].channel') = 'text'
                AND length(json_extract(template_config, '$[19].channel')) BETWEEN 1 AND 40
                AND json_extract(template_config, '$[19].channel') GLOB '[a-z]*'
                AND json_extract(template_config, '$[19].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(template_config, '$[19].step'), '') = ''
                    OR (json_type(template_config, '$[19].step') = 'integer'
                        AND json_extract(template_config, '$[19].step') >= 1))
                AND coalesce(json_type(template_config, '$[19].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(template_config, '$[19].enabled'), '') = ''
                    OR (json_type(template_config, '$[19].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[19].needs_pdf'), '') = ''
                    OR (json_type(template_config, '$[19].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(template_config, '$[19].variant_count'), '') = ''
                    OR (json_type(template_config, '$[19].variant_count') = 'integer'
                        AND json_extract(template_config, '$[19].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(template_config, '$[19].key'), '') = ''
                    OR (json_type(template_config, '$[19].key') = 'text'
                        AND length(json_extract(template_config, '$[19].key')) BETWEEN 1 AND 40
                        AND json_extract(template_config, '$[19].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(template_config, '$[19].day_offset'), '') = ''
                    OR (json_type(template_config, '$[19].day_offset') = 'integer'
                        AND json_extract(template_config, '$[19].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(template_config, '$[19].condition'), '') = ''
                    OR (json_type(template_config, '$[19].condition') = 'text'
                        AND json_extract(template_config, '$[19].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(template_config, '$[19].config'), '') = ''
                    OR (json_type(template_config, '$[19].config') = 'object')))))
    THEN 0
    ELSE length(json_set('{}', '$."'
        || CASE
        WHEN json_array_length(template_config) <= 0
        THEN '.0'
        ELSE coalesce(nullif(json_extract(template_config, '$[0].key'), ''), 's1')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 1
        THEN '.1'
        ELSE coalesce(nullif(json_extract(template_config, '$[1].key'), ''), 's2')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 2
        THEN '.2'
        ELSE coalesce(nullif(json_extract(template_config, '$[2].key'), ''), 's3')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 3
        THEN '.3'
        ELSE coalesce(nullif(json_extract(template_config, '$[3].key'), ''), 's4')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 4
        THEN '.4'
        ELSE coalesce(nullif(json_extract(template_config, '$[4].key'), ''), 's5')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 5
        THEN '.5'
        ELSE coalesce(nullif(json_extract(template_config, '$[5].key'), ''), 's6')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 6
        THEN '.6'
        ELSE coalesce(nullif(json_extract(template_config, '$[6].key'), ''), 's7')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 7
        THEN '.7'
        ELSE coalesce(nullif(json_extract(template_config, '$[7].key'), ''), 's8')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 8
        THEN '.8'
        ELSE coalesce(nullif(json_extract(template_config, '$[8].key'), ''), 's9')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 9
        THEN '.9'
        ELSE coalesce(nullif(json_extract(template_config, '$[9].key'), ''), 's10')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 10
        THEN '.10'
        ELSE coalesce(nullif(json_extract(template_config, '$[10].key'), ''), 's11')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 11
        THEN '.11'
        ELSE coalesce(nullif(json_extract(template_config, '$[11].key'), ''), 's12')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 12
        THEN '.12'
        ELSE coalesce(nullif(json_extract(template_config, '$[12].key'), ''), 's13')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 13
        THEN '.13'
        ELSE coalesce(nullif(json_extract(template_config, '$[13].key'), ''), 's14')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 14
        THEN '.14'
        ELSE coalesce(nullif(json_extract(template_config, '$[14].key'), ''), 's15')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 15
        THEN '.15'
        ELSE coalesce(nullif(json_extract(template_config, '$[15].key'), ''), 's16')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 16
        THEN '.16'
        ELSE coalesce(nullif(json_extract(template_config, '$[16].key'), ''), 's17')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 17
        THEN '.17'
        ELSE coalesce(nullif(json_extract(template_config, '$[17].key'), ''), 's18')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 18
        THEN '.18'
        ELSE coalesce(nullif(json_extract(template_config, '$[18].key'), ''), 's19')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(template_config) <= 19
        THEN '.19'
        ELSE coalesce(nullif(json_extract(template_config, '$[19].key'), ''), 's20')
        END
        || '"', 0)) = length(json_object(CASE
        WHEN json_array_length(template_config) <= 0
        THEN '.0'
        ELSE coalesce(nullif(json_extract(template_config, '$[0].key'), ''), 's1') END, 0, CASE
        WHEN json_array_length(template_config) <= 1
        THEN '.1'
        ELSE coalesce(nullif(json_extract(template_config, '$[1].key'), ''), 's2') END, 0, CASE
        WHEN json_array_length(template_config) <= 2
        THEN '.2'
        ELSE coalesce(nullif(json_extract(template_config, '$[2].key'), ''), 's3') END, 0, CASE
        WHEN json_array_length(template_config) <= 3
        THEN '.3'
        ELSE coalesce(nullif(json_extract(template_config, '$[3].key'), ''), 's4') END, 0, CASE
        WHEN json_array_length(template_config) <= 4
        THEN '.4'
        ELSE coalesce(nullif(json_extract(template_config, '$[4].key'), ''), 's5') END, 0, CASE
        WHEN json_array_length(template_config) <= 5
        THEN '.5'
        ELSE coalesce(nullif(json_extract(template_config, '$[5].key'), ''), 's6') END, 0, CASE
        WHEN json_array_length(template_config) <= 6
        THEN '.6'
        ELSE coalesce(nullif(json_extract(template_config, '$[6].key'), ''), 's7') END, 0, CASE
        WHEN json_array_length(template_config) <= 7
        THEN '.7'
        ELSE coalesce(nullif(json_extract(template_config, '$[7].key'), ''), 's8') END, 0, CASE
        WHEN json_array_length(template_config) <= 8
        THEN '.8'
        ELSE coalesce(nullif(json_extract(template_config, '$[8].key'), ''), 's9') END, 0, CASE
        WHEN json_array_length(template_config) <= 9
        THEN '.9'
        ELSE coalesce(nullif(json_extract(template_config, '$[9].key'), ''), 's10') END, 0, CASE
        WHEN json_array_length(template_config) <= 10
        THEN '.10'
        ELSE coalesce(nullif(json_extract(template_config, '$[10].key'), ''), 's11') END, 0, CASE
        WHEN json_array_length(template_config) <= 11
        THEN '.11'
        ELSE coalesce(nullif(json_extract(template_config, '$[11].key'), ''), 's12') END, 0, CASE
        WHEN json_array_length(template_config) <= 12
        THEN '.12'
        ELSE coalesce(nullif(json_extract(template_config, '$[12].key'), ''), 's13') END, 0, CASE
        WHEN json_array_length(template_config) <= 13
        THEN '.13'
        ELSE coalesce(nullif(json_extract(template_config, '$[13].key'), ''), 's14') END, 0, CASE
        WHEN json_array_length(template_config) <= 14
        THEN '.14'
        ELSE coalesce(nullif(json_extract(template_config, '$[14].key'), ''), 's15') END, 0, CASE
        WHEN json_array_length(template_config) <= 15
        THEN '.15'
        ELSE coalesce(nullif(json_extract(template_config, '$[15].key'), ''), 's16') END, 0, CASE
        WHEN json_array_length(template_config) <= 16
        THEN '.16'
        ELSE coalesce(nullif(json_extract(template_config, '$[16].key'), ''), 's17') END, 0, CASE
        WHEN json_array_length(template_config) <= 17
        THEN '.17'
        ELSE coalesce(nullif(json_extract(template_config, '$[17].key'), ''), 's18') END, 0, CASE
        WHEN json_array_length(template_config) <= 18
        THEN '.18'
        ELSE coalesce(nullif(json_extract(template_config, '$[18].key'), ''), 's19') END, 0, CASE
        WHEN json_array_length(template_config) <= 19
        THEN '.19'
        ELSE coalesce(nullif(json_extract(template_config, '$[19].key'), ''), 's20') END, 0))
    AND coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[12].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[13].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[12].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[14].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[13].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[15].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[14].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[16].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[14].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[15].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[17].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[14].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[15].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[16].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[18].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[14].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[15].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[16].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[17].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(template_config, '$[19].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(template_config, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[14].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[15].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[16].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[17].day_offset'), ''), 0), coalesce(nullif(json_extract(template_config, '$[18].day_offset'), ''), 0))
    END
)

-- on campaigns
CONSTRAINT ck_campaigns_generation_config CHECK (
    CASE
    WHEN NOT json_valid(generation_config)
    THEN 0
    WHEN json_type(generation_config) <> 'object'
    THEN 0
    ELSE typeof(generation_config) = 'text'
    AND instr(generation_config, char(0)) = 0
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\u0000*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\u005[fF]*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\u006[1-9a-fA-F]*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\u007[0-9aA]*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??[^\]*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\[^u]*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[^dD]*'
    AND replace('//////'
        || generation_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[dD][^c-fC-F]*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*[^\]?????\u[dD][c-fC-F]*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\[^u]????\u[dD][c-fC-F]*'
    AND replace('//////' || generation_config, '\\', '//') NOT GLOB '*\u[^dD]???\u[dD][c-fC-F]*'
    AND replace('//////'
        || generation_config, '\\', '//') NOT GLOB '*\u[dD][^89abAB]??\u[dD][c-fC-F]*'
    AND coalesce(json_type(generation_config, '$.tone'), 'null') IN ('null', 'text')
    AND (coalesce(json_extract(generation_config, '$.language'), '') = ''
        OR (json_type(generation_config, '$.language') = 'text'
            AND json_extract(generation_config, '$.language') GLOB '[A-Za-z][A-Za-z]*'
            AND json_extract(generation_config, '$.language') NOT GLOB '*[^A-Za-z0-9-]*'
            AND json_extract(generation_config, '$.language') NOT GLOB '*[A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9]*'
            AND json_extract(generation_config, '$.language') NOT GLOB '*-'
            AND json_extract(generation_config, '$.language') NOT GLOB '*--*'
            AND json_extract(generation_config, '$.language') NOT GLOB '*-*-*-*-*'
            AND json_extract(generation_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][0-9]*'
            AND json_extract(generation_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][0-9]*'
            AND json_extract(generation_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'
            AND json_extract(generation_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'
            AND json_extract(generation_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'
            AND json_extract(generation_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'))
    AND (coalesce(json_extract(generation_config, '$.custom_instructions'), '') = ''
        OR (json_type(generation_config, '$.custom_instructions') = 'text'
            AND length(json_extract(generation_config, '$.custom_instructions')) BETWEEN 0 AND 10000))
    AND (coalesce(json_extract(generation_config, '$.default_variant_count'), '') = ''
        OR (json_type(generation_config, '$.default_variant_count') = 'integer'
            AND json_extract(generation_config, '$.default_variant_count') BETWEEN 1 AND 3))
    AND (coalesce(json_extract(generation_config, '$.budget'), '') = ''
        OR (json_type(generation_config, '$.budget') = 'text'
            AND json_extract(generation_config, '$.budget') GLOB '[0-9]*'
            AND json_extract(generation_config, '$.budget') NOT GLOB '*[^0-9.]*'
            AND json_extract(generation_config, '$.budget') NOT GLOB '0[0-9]*'
            AND json_extract(generation_config, '$.budget') NOT GLOB '*[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]*'
            AND json_extract(generation_config, '$.budget') NOT GLOB '*.'
            AND json_extract(generation_config, '$.budget') NOT GLOB '*.*.*'))
    END
)

-- on campaigns
CONSTRAINT ck_campaigns_total_contacts CHECK (
    typeof(total_contacts) = 'integer'
)

-- on campaigns
CONSTRAINT ck_campaigns_generated_count CHECK (
    typeof(generated_count) = 'integer'
)

-- on campaigns
CONSTRAINT ck_campaigns_generation_cost CHECK (
    typeof(generation_cost) = 'integer' AND generation_cost >= 0
)

-- on campaigns
CONSTRAINT ck_campaigns_generation_started_at CHECK (
    generation_started_at IS NULL
    OR (CASE
        WHEN typeof(generation_started_at) = 'text'
        AND length(CAST(generation_started_at AS BLOB)) = 26
        AND generation_started_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
        AND generation_started_at BETWEEN '0001-01-02 00:00:00.000000'
        AND '9999-12-30 00:00:00.000000'
        THEN coalesce(datetime(substr(generation_started_at, 1, 19), '+0 days') = substr(generation_started_at, 1, 19), 0)
        ELSE 0 END)
)

-- on campaigns
CONSTRAINT ck_campaigns_generation_completed_at CHECK (
    generation_completed_at IS NULL
    OR (CASE
        WHEN typeof(generation_completed_at) = 'text'
        AND length(CAST(generation_completed_at AS BLOB)) = 26
        AND generation_completed_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
        AND generation_completed_at BETWEEN '0001-01-02 00:00:00.000000'
        AND '9999-12-30 00:00:00.000000'
        THEN coalesce(datetime(substr(generation_completed_at, 1, 19), '+0 days') = substr(generation_completed_at, 1, 19), 0)
        ELSE 0 END)
)

-- on campaigns
CONSTRAINT ck_campaigns_finished_before_start CHECK (
    typeof(finished_before_start) = 'integer'
)

-- on campaigns
CONSTRAINT ck_campaigns_next_position CHECK (
    typeof(next_position) = 'integer'
)

-- on campaigns
CONSTRAINT ck_campaigns_clone_count CHECK (
    typeof(clone_count) = 'integer'
)

-- on campaigns
CONSTRAINT ck_campaigns_version CHECK (
    typeof(version) = 'integer'
)

-- on campaigns
CONSTRAINT ck_campaigns_created_at CHECK (
    CASE
    WHEN typeof(created_at) = 'text'
    AND length(CAST(created_at AS BLOB)) = 26
    AND created_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
    AND created_at BETWEEN '0001-01-02 00:00:00.000000'
    AND '9999-12-30 00:00:00.000000'
    THEN coalesce(datetime(substr(created_at, 1, 19), '+0 days') = substr(created_at, 1, 19), 0)
    ELSE 0
    END
)

-- on campaigns
CONSTRAINT ck_campaigns_updated_at CHECK (
    CASE
    WHEN typeof(updated_at) = 'text'
    AND length(CAST(updated_at AS BLOB)) = 26
    AND updated_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
    AND updated_at BETWEEN '0001-01-02 00:00:00.000000'
    AND '9999-12-30 00:00:00.000000'
    THEN coalesce(datetime(substr(updated_at, 1, 19), '+0 days') = substr(updated_at, 1, 19), 0)
    ELSE 0
    END
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_id CHECK (
    typeof(id) = 'text' AND length(CAST(id AS BLOB)) = 32 AND id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_tenant_id CHECK (
    typeof(tenant_id) = 'text'
    AND length(CAST(tenant_id AS BLOB)) = 32
    AND tenant_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_campaign_id CHECK (
    typeof(campaign_id) = 'text'
    AND length(CAST(campaign_id AS BLOB)) = 32
    AND campaign_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_contact_id CHECK (
    typeof(contact_id) = 'text'
    AND length(CAST(contact_id AS BLOB)) = 32
    AND contact_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_status CHECK (
    status IN ('pending', 'enrichment_ok', 'enrichment_needed', 'generating', 'generated', 'failed', 'excluded')
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_enrichment_gaps CHECK (
    enrichment_gaps IS NULL
    OR CASE
    WHEN NOT json_valid(enrichment_gaps)
    THEN 0
    WHEN json_type(enrichment_gaps) <> 'array'
    THEN 0
    ELSE typeof(enrichment_gaps) = 'text'
    AND instr(enrichment_gaps, char(0)) = 0
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\u0000*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\u005[fF]*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\u006[1-9a-fA-F]*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\u007[0-9aA]*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\u[dD][89abAB]??[^\]*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\[^u]*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[^dD]*'
    AND replace('//////'
        || enrichment_gaps, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[dD][^c-fC-F]*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*[^\]?????\u[dD][c-fC-F]*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\[^u]????\u[dD][c-fC-F]*'
    AND replace('//////' || enrichment_gaps, '\\', '//') NOT GLOB '*\u[^dD]???\u[dD][c-fC-F]*'
    AND replace('//////'
        || enrichment_gaps, '\\', '//') NOT GLOB '*\u[dD][^89abAB]??\u[dD][c-fC-F]*'
    AND json_array_length(enrichment_gaps) <= 1000
    AND (replace(replace(json(enrichment_gaps), '\\', '//'), '\"', '//') = '[]'
        OR (replace(replace(json(enrichment_gaps), '\\', '//'), '\"', '//') GLOB '[[]"*"]'
            AND replace(replace(json(enrichment_gaps), '\\', '//'), '\"', '//') NOT GLOB '*""*'
            AND instr(replace(substr(replace(replace(json(enrichment_gaps), '\\', '//'), '\"', '//'), 3, length(replace(replace(json(enrichment_gaps), '\\', '//'), '\"', '//')) - 4), '","', ''), '"') = 0))
    END
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_rank CHECK (
    typeof(rank) = 'integer'
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_attempts CHECK (
    typeof(attempts) = 'integer'
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_revision CHECK (
    typeof(revision) = 'integer'
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_claim_token CHECK (
    claim_token IS NULL
    OR (typeof(claim_token) = 'text'
        AND length(CAST(claim_token AS BLOB)) = 32
        AND claim_token NOT GLOB '*[^0-9a-f]*')
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_claimed_at CHECK (
    claimed_at IS NULL
    OR (CASE
        WHEN typeof(claimed_at) = 'text'
        AND length(CAST(claimed_at AS BLOB)) = 26
        AND claimed_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
        AND claimed_at BETWEEN '0001-01-02 00:00:00.000000'
        AND '9999-12-30 00:00:00.000000'
        THEN coalesce(datetime(substr(claimed_at, 1, 19), '+0 days') = substr(claimed_at, 1, 19), 0)
        ELSE 0 END)
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_lease_expires_at CHECK (
    lease_expires_at IS NULL
    OR (CASE
        WHEN typeof(lease_expires_at) = 'text'
        AND length(CAST(lease_expires_at AS BLOB)) = 26
        AND lease_expires_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
        AND lease_expires_at BETWEEN '0001-01-02 00:00:00.000000'
        AND '9999-12-30 00:00:00.000000'
        THEN coalesce(datetime(substr(lease_expires_at, 1, 19), '+0 days') = substr(lease_expires_at, 1, 19), 0)
        ELSE 0 END)
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_retry_at CHECK (
    retry_at IS NULL
    OR (CASE
        WHEN typeof(retry_at) = 'text'
        AND length(CAST(retry_at AS BLOB)) = 26
        AND retry_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
        AND retry_at BETWEEN '0001-01-02 00:00:00.000000'
        AND '9999-12-30 00:00:00.000000'
        THEN coalesce(datetime(substr(retry_at, 1, 19), '+0 days') = substr(retry_at, 1, 19), 0)
        ELSE 0 END)
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_reported_tokens CHECK (
    CASE
    WHEN NOT json_valid(reported_tokens)
    THEN 0
    WHEN json_type(reported_tokens) <> 'array'
    THEN 0
    ELSE typeof(reported_tokens) = 'text'
    AND instr(reported_tokens, char(0)) = 0
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\u0000*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\u005[fF]*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\u006[1-9a-fA-F]*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\u007[0-9aA]*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\u[dD][89abAB]??[^\]*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\[^u]*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[^dD]*'
    AND replace('//////'
        || reported_tokens, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[dD][^c-fC-F]*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*[^\]?????\u[dD][c-fC-F]*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\[^u]????\u[dD][c-fC-F]*'
    AND replace('//////' || reported_tokens, '\\', '//') NOT GLOB '*\u[^dD]???\u[dD][c-fC-F]*'
    AND replace('//////'
        || reported_tokens, '\\', '//') NOT GLOB '*\u[dD][^89abAB]??\u[dD][c-fC-F]*'
    END
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_generation_cost CHECK (
    typeof(generation_cost) = 'integer' AND generation_cost >= 0
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_unknown_costs CHECK (
    typeof(unknown_costs) = 'integer'
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_reserved CHECK (
    typeof(reserved) = 'integer' AND reserved >= 0
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_steps_fingerprint CHECK (
    steps_fingerprint IS NULL
    OR (typeof(steps_fingerprint) = 'text' AND instr(steps_fingerprint, char(0)) = 0)
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_error_code CHECK (
    error_code IS NULL
    OR (typeof(error_code) = 'text'
        AND instr(error_code, char(0)) = 0
        AND length(error_code) <= 500)
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_error CHECK (
    error IS NULL OR (typeof(error) = 'text' AND instr(error, char(0)) = 0 AND length(error) <= 500)
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_added_at CHECK (
    CASE
    WHEN typeof(added_at) = 'text'
    AND length(CAST(added_at AS BLOB)) = 26
    AND added_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
    AND added_at BETWEEN '0001-01-02 00:00:00.000000'
    AND '9999-12-30 00:00:00.000000'
    THEN coalesce(datetime(substr(added_at, 1, 19), '+0 days') = substr(added_at, 1, 19), 0)
    ELSE 0
    END
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_generated_at CHECK (
    generated_at IS NULL
    OR (CASE
        WHEN typeof(generated_at) = 'text'
        AND length(CAST(generated_at AS BLOB)) = 26
        AND generated_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
        AND generated_at BETWEEN '0001-01-02 00:00:00.000000'
        AND '9999-12-30 00:00:00.000000'
        THEN coalesce(datetime(substr(generated_at, 1, 19), '+0 days') = substr(generated_at, 1, 19), 0)
        ELSE 0 END)
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_exported_at CHECK (
    exported_at IS NULL
    OR (CASE
        WHEN typeof(exported_at) = 'text'
        AND length(CAST(exported_at AS BLOB)) = 26
        AND exported_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
        AND exported_at BETWEEN '0001-01-02 00:00:00.000000'
        AND '9999-12-30 00:00:00.000000'
        THEN coalesce(datetime(substr(exported_at, 1, 19), '+0 days') = substr(exported_at, 1, 19), 0)
        ELSE 0 END)
)

-- on campaign_contacts
CONSTRAINT ck_campaign_contacts_claim CHECK (
    (claim_token IS NOT NULL OR lease_expires_at IS NULL)
    AND (lease_expires_at IS NOT NULL OR status <> 'generating')
)

-- on campaign_erased_claims
CONSTRAINT ck_campaign_erased_claims_tenant_id CHECK (
    typeof(tenant_id) = 'text'
    AND length(CAST(tenant_id AS BLOB)) = 32
    AND tenant_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_erased_claims
CONSTRAINT ck_campaign_erased_claims_campaign_contact_id CHECK (
    typeof(campaign_contact_id) = 'text'
    AND length(CAST(campaign_contact_id AS BLOB)) = 32
    AND campaign_contact_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_erased_claims
CONSTRAINT ck_campaign_erased_claims_campaign_id CHECK (
    typeof(campaign_id) = 'text'
    AND length(CAST(campaign_id AS BLOB)) = 32
    AND campaign_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_erased_claims
CONSTRAINT ck_campaign_erased_claims_token CHECK (
    typeof(token) = 'text' AND length(CAST(token AS BLOB)) = 32 AND token NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_erased_claims
CONSTRAINT ck_campaign_erased_claims_reserved CHECK (
    typeof(reserved) = 'integer' AND reserved >= 0
)

-- on campaign_erased_claims
CONSTRAINT ck_campaign_erased_claims_lease_expires_at CHECK (
    lease_expires_at IS NULL
    OR (CASE
        WHEN typeof(lease_expires_at) = 'text'
        AND length(CAST(lease_expires_at AS BLOB)) = 26
        AND lease_expires_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
        AND lease_expires_at BETWEEN '0001-01-02 00:00:00.000000'
        AND '9999-12-30 00:00:00.000000'
        THEN coalesce(datetime(substr(lease_expires_at, 1, 19), '+0 days') = substr(lease_expires_at, 1, 19), 0)
        ELSE 0 END)
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_tenant_id CHECK (
    typeof(tenant_id) = 'text'
    AND length(CAST(tenant_id AS BLOB)) = 32
    AND tenant_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_campaign_id CHECK (
    typeof(campaign_id) = 'text'
    AND length(CAST(campaign_id AS BLOB)) = 32
    AND campaign_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_shard CHECK (
    typeof(shard) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_pending CHECK (
    typeof(pending) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_enrichment_ok CHECK (
    typeof(enrichment_ok) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_enrichment_needed CHECK (
    typeof(enrichment_needed) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_generating CHECK (
    typeof(generating) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_generated CHECK (
    typeof(generated) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_failed CHECK (
    typeof(failed) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_excluded CHECK (
    typeof(excluded) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_exported CHECK (
    typeof(exported) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_cost CHECK (
    typeof(cost) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_unknown_costs CHECK (
    typeof(unknown_costs) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_erased_cost CHECK (
    typeof(erased_cost) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_erased_unknown_costs CHECK (
    typeof(erased_unknown_costs) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_reserved CHECK (
    typeof(reserved) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_unit_reserve CHECK (
    typeof(unit_reserve) = 'integer'
)

-- on campaign_totals
CONSTRAINT ck_campaign_totals_low_watermark CHECK (
    low_watermark IS NULL OR (typeof(low_watermark) = 'integer')
)

-- on campaign_history
CONSTRAINT ck_campaign_history_id CHECK (
    typeof(id) = 'text' AND length(CAST(id AS BLOB)) = 32 AND id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_history
CONSTRAINT ck_campaign_history_tenant_id CHECK (
    typeof(tenant_id) = 'text'
    AND length(CAST(tenant_id AS BLOB)) = 32
    AND tenant_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_history
CONSTRAINT ck_campaign_history_campaign_id CHECK (
    typeof(campaign_id) = 'text'
    AND length(CAST(campaign_id AS BLOB)) = 32
    AND campaign_id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_history
CONSTRAINT ck_campaign_history_version CHECK (
    typeof(version) = 'integer'
)

-- on campaign_history
CONSTRAINT ck_campaign_history_action CHECK (
    action IN ('mark_ready', 'return_to_draft', 'start_generation', 'submit_for_review', 'complete_generation', 'cancel_generation', 'request_changes', 'approve', 'reopen_review', 'export', 'archive', 'delete', 'adopted')
)

-- on campaign_history
CONSTRAINT ck_campaign_history_source CHECK (
    source IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')
)

-- on campaign_history
CONSTRAINT ck_campaign_history_target CHECK (
    target IN ('draft', 'ready', 'generating', 'review', 'approved', 'exported', 'archived')
)

-- on campaign_history
CONSTRAINT ck_campaign_history_actor CHECK (
    actor IS NULL OR (typeof(actor) = 'text' AND instr(actor, char(0)) = 0 AND length(actor) <= 500)
)

-- on campaign_history
CONSTRAINT ck_campaign_history_reason CHECK (
    action = 'adopted'
    OR reason IS NULL
    OR (typeof(reason) = 'text' AND instr(reason, char(0)) = 0 AND length(reason) <= 10000)
)

-- on campaign_history
CONSTRAINT ck_campaign_history_at CHECK (
    CASE
    WHEN typeof(at) = 'text'
    AND length(CAST(at AS BLOB)) = 26
    AND at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
    AND at BETWEEN '0001-01-02 00:00:00.000000'
    AND '9999-12-30 00:00:00.000000'
    THEN coalesce(datetime(substr(at, 1, 19), '+0 days') = substr(at, 1, 19), 0)
    ELSE 0
    END
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_id CHECK (
    typeof(id) = 'text' AND length(CAST(id AS BLOB)) = 32 AND id NOT GLOB '*[^0-9a-f]*'
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_tenant_id CHECK (
    tenant_id IS NULL
    OR (typeof(tenant_id) = 'text'
        AND length(CAST(tenant_id AS BLOB)) = 32
        AND tenant_id NOT GLOB '*[^0-9a-f]*')
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_name CHECK (
    typeof(name) = 'text'
    AND instr(name, char(0)) = 0
    AND length(name) <= 500
    AND trim(name, char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) <> ''
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_description CHECK (
    description IS NULL
    OR (typeof(description) = 'text'
        AND instr(description, char(0)) = 0
        AND length(description) <= 10000)
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_steps CHECK (
    CASE
    WHEN NOT json_valid(steps)
    THEN 0
    WHEN json_type(steps) <> 'array'
    THEN 0
    WHEN json_array_length(steps) > 20
    THEN 0
    WHEN NOT (typeof(steps) = 'text'
        AND instr(steps, char(0)) = 0
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u0000*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u005[fF]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u006[1-9a-fA-F]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u007[0-9aA]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u[dD][89abAB]??[^\]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\[^u]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[^dD]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[dD][^c-fC-F]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*[^\]?????\u[dD][c-fC-F]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\[^u]????\u[dD][c-fC-F]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u[^dD]???\u[dD][c-fC-F]*'
        AND replace('//////' || steps, '\\', '//') NOT GLOB '*\u[dD][^89abAB]??\u[dD][c-fC-F]*'
        AND (json_array_length(steps) <= 0
            OR (coalesce(json_type(steps, '$[0]'), '') = 'object'
                AND coalesce(json_type(steps, '$[0].channel'), '') = 'text'
                AND json_type(steps, '$[0].channel') = 'text'
                AND length(json_extract(steps, '$[0].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[0].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[0].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[0].step'), '') = ''
                    OR (json_type(steps, '$[0].step') = 'integer'
                        AND json_extract(steps, '$[0].step') >= 1))
                AND coalesce(json_type(steps, '$[0].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[0].enabled'), '') = ''
                    OR (json_type(steps, '$[0].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[0].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[0].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[0].variant_count'), '') = ''
                    OR (json_type(steps, '$[0].variant_count') = 'integer'
                        AND json_extract(steps, '$[0].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[0].key'), '') = ''
                    OR (json_type(steps, '$[0].key') = 'text'
                        AND length(json_extract(steps, '$[0].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[0].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[0].day_offset'), '') = ''
                    OR (json_type(steps, '$[0].day_offset') = 'integer'
                        AND json_extract(steps, '$[0].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[0].condition'), '') = ''
                    OR (json_type(steps, '$[0].condition') = 'text'
                        AND json_extract(steps, '$[0].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[0].config'), '') = ''
                    OR (json_type(steps, '$[0].config') = 'object'))))
        AND (json_array_length(steps) <= 1
            OR (coalesce(json_type(steps, '$[1]'), '') = 'object'
                AND coalesce(json_type(steps, '$[1].channel'), '') = 'text'
                AND json_type(steps, '$[1].channel') = 'text'
                AND length(json_extract(steps, '$[1].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[1].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[1].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[1].step'), '') = ''
                    OR (json_type(steps, '$[1].step') = 'integer'
                        AND json_extract(steps, '$[1].step') >= 1))
                AND coalesce(json_type(steps, '$[1].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[1].enabled'), '') = ''
                    OR (json_type(steps, '$[1].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[1].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[1].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[1].variant_count'), '') = ''
                    OR (json_type(steps, '$[1].variant_count') = 'integer'
                        AND json_extract(steps, '$[1].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[1].key'), '') = ''
                    OR (json_type(steps, '$[1].key') = 'text'
                        AND length(json_extract(steps, '$[1].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[1].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[1].day_offset'), '') = ''
                    OR (json_type(steps, '$[1].day_offset') = 'integer'
                        AND json_extract(steps, '$[1].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[1].condition'), '') = ''
                    OR (json_type(steps, '$[1].condition') = 'text'
                        AND json_extract(steps, '$[1].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[1].config'), '') = ''
                    OR (json_type(steps, '$[1].config') = 'object'))))
        AND (json_array_length(steps) <= 2
            OR (coalesce(json_type(steps, '$[2]'), '') = 'object'
                AND coalesce(json_type(steps, '$[2].channel'), '') = 'text'
                AND json_type(steps, '$[2].channel') = 'text'
                AND length(json_extract(steps, '$[2].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[2].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[2].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[2].step'), '') = ''
                    OR (json_type(steps, '$[2].step') = 'integer'
                        AND json_extract(steps, '$[2].step') >= 1))
                AND coalesce(json_type(steps, '$[2].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[2].enabled'), '') = ''
                    OR (json_type(steps, '$[2].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[2].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[2].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[2].variant_count'), '') = ''
                    OR (json_type(steps, '$[2].variant_count') = 'integer'
                        AND json_extract(steps, '$[2].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[2].key'), '') = ''
                    OR (json_type(steps, '$[2].key') = 'text'
                        AND length(json_extract(steps, '$[2].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[2].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[2].day_offset'), '') = ''
                    OR (json_type(steps, '$[2].day_offset') = 'integer'
                        AND json_extract(steps, '$[2].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[2].condition'), '') = ''
                    OR (json_type(steps, '$[2].condition') = 'text'
                        AND json_extract(steps, '$[2].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[2].config'), '') = ''
                    OR (json_type(steps, '$[2].config') = 'object'))))
        AND (json_array_length(steps) <= 3
            OR (coalesce(json_type(steps, '$[3]'), '') = 'object'
                AND coalesce(json_type(steps, '$[3].channel'), '') = 'text'
                AND json_type(steps, '$[3].channel') = 'text'
                AND length(json_extract(steps, '$[3].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[3].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[3].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[3].step'), '') = ''
                    OR (json_type(steps, '$[3].step') = 'integer'
                        AND json_extract(steps, '$[3].step') >= 1))
                AND coalesce(json_type(steps, '$[3].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[3].enabled'), '') = ''
                    OR (json_type(steps, '$[3].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[3].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[3].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[3].variant_count'), '') = ''
                    OR (json_type(steps, '$[3].variant_count') = 'integer'
                        AND json_extract(steps, '$[3].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[3].key'), '') = ''
                    OR (json_type(steps, '$[3].key') = 'text'
                        AND length(json_extract(steps, '$[3].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[3].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[3].day_offset'), '') = ''
                    OR (json_type(steps, '$[3].day_offset') = 'integer'
                        AND json_extract(steps, '$[3].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[3].condition'), '') = ''
                    OR (json_type(steps, '$[3].condition') = 'text'
                        AND json_extract(steps, '$[3].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[3].config'), '') = ''
                    OR (json_type(steps, '$[3].config') = 'object'))))
        AND (json_array_length(steps) <= 4
            OR (coalesce(json_type(steps, '$[4]'), '') = 'object'
                AND coalesce(json_type(steps, '$[4].channel'), '') = 'text'
                AND json_type(steps, '$[4].channel') = 'text'
                AND length(json_extract(steps, '$[4].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[4].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[4].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[4].step'), '') = ''
                    OR (json_type(steps, '$[4].step') = 'integer'
                        AND json_extract(steps, '$[4].step') >= 1))
                AND coalesce(json_type(steps, '$[4].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[4].enabled'), '') = ''
                    OR (json_type(steps, '$[4].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[4].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[4].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[4].variant_count'), '') = ''
                    OR (json_type(steps, '$[4].variant_count') = 'integer'
                        AND json_extract(steps, '$[4].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[4].key'), '') = ''
                    OR (json_type(steps, '$[4].key') = 'text'
                        AND length(json_extract(steps, '$[4].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[4].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[4].day_offset'), '') = ''
                    OR (json_type(steps, '$[4].day_offset') = 'integer'
                        AND json_extract(steps, '$[4].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[4].condition'), '') = ''
                    OR (json_type(steps, '$[4].condition') = 'text'
                        AND json_extract(steps, '$[4].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[4].config'), '') = ''
                    OR (json_type(steps, '$[4].config') = 'object'))))
        AND (json_array_length(steps) <= 5
            OR (coalesce(json_type(steps, '$[5]'), '') = 'object'
                AND coalesce(json_type(steps, '$[5].channel'), '') = 'text'
                AND json_type(steps, '$[5].channel') = 'text'
                AND length(json_extract(steps, '$[5].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[5].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[5].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[5].step'), '') = ''
                    OR (json_type(steps, '$[5].step') = 'integer'
                        AND json_extract(steps, '$[5].step') >= 1))
                AND coalesce(json_type(steps, '$[5].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[5].enabled'), '') = ''
                    OR (json_type(steps, '$[5].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[5].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[5].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[5].variant_count'), '') = ''
                    OR (json_type(steps, '$[5].variant_count') = 'integer'
                        AND json_extract(steps, '$[5].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[5].key'), '') = ''
                    OR (json_type(steps, '$[5].key') = 'text'
                        AND length(json_extract(steps, '$[5].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[5].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[5].day_offset'), '') = ''
                    OR (json_type(steps, '$[5].day_offset') = 'integer'
                        AND json_extract(steps, '$[5].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[5].condition'), '') = ''
                    OR (json_type(steps, '$[5].condition') = 'text'
                        AND json_extract(steps, '$[5].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[5].config'), '') = ''
                    OR (json_type(steps, '$[5].config') = 'object'))))
        AND (json_array_length(steps) <= 6
            OR (coalesce(json_type(steps, '$[6]'), '') = 'object'
                AND coalesce(json_type(steps, '$[6].channel'), '') = 'text'
                AND json_type(steps, '$[6].channel') = 'text'
                AND length(json_extract(steps, '$[6].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[6].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[6].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[6].step'), '') = ''
                    OR (json_type(steps, '$[6].step') = 'integer'
                        AND json_extract(steps, '$[6].step') >= 1))
                AND coalesce(json_type(steps, '$[6].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[6].enabled'), '') = ''
                    OR (json_type(steps, '$[6].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[6].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[6].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[6].variant_count'), '') = ''
                    OR (json_type(steps, '$[6].variant_count') = 'integer'
                        AND json_extract(steps, '$[6].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[6].key'), '') = ''
                    OR (json_type(steps, '$[6].key') = 'text'
                        AND length(json_extract(steps, '$[6].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[6].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[6].day_offset'), '') = ''
                    OR (json_type(steps, '$[6].day_offset') = 'integer'
                        AND json_extract(steps, '$[6].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[6].condition'), '') = ''
                    OR (json_type(steps, '$[6].condition') = 'text'
                        AND json_extract(steps, '$[6].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[6].config'), '') = ''
                    OR (json_type(steps, '$[6].config') = 'object'))))
        AND (json_array_length(steps) <= 7
            OR (coalesce(json_type(steps, '$[7]'), '') = 'object'
                AND coalesce(json_type(steps, '$[7].channel'), '') = 'text'
                AND json_type(steps, '$[7].channel') = 'text'
                AND length(json_extract(steps, '$[7].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[7].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[7].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[7].step'), '') = ''
                    OR (json_type(steps, '$[7].step') = 'integer'
                        AND json_extract(steps, '$[7].step') >= 1))
                AND coalesce(json_type(steps, '$[7].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[7].enabled'), '') = ''
                    OR (json_type(steps, '$[7].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[7].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[7].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[7].variant_count'), '') = ''
                    OR (json_type(steps, '$[7].variant_count') = 'integer'
                        AND json_extract(steps, '$[7].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[7].key'), '') = ''
                    OR (json_type(steps, '$[7].key') = 'text'
                        AND length(json_extract(steps, '$[7].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[7].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[7].day_offset'), '') = ''
                    OR (json_type(steps, '$[7].day_offset') = 'integer'
                        AND json_extract(steps, '$[7].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[7].condition'), '') = ''
                    OR (json_type(steps, '$[7].condition') = 'text'
                        AND json_extract(steps, '$[7].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[7].config'), '') = ''
                    OR (json_type(steps, '$[7].config') = 'object'))))
        AND (json_array_length(steps) <= 8
            OR (coalesce(json_type(steps, '$[8]'), '') = 'object'
                AND coalesce(json_type(steps, '$[8].channel'), '') = 'text'
                AND json_type(steps, '$[8].channel') = 'text'
                AND length(json_extract(steps, '$[8].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[8].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[8].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[8].step'), '') = ''
                    OR (json_type(steps, '$[8].step') = 'integer'
                        AND json_extract(steps, '$[8].step') >= 1))
                AND coalesce(json_type(steps, '$[8].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[8].enabled'), '') = ''
                    OR (json_type(steps, '$[8].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[8].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[8].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[8].variant_count'), '') = ''
                    OR (json_type(steps, '$[8].variant_count') = 'integer'
                        AND json_extract(steps, '$[8].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[8].key'), '') = ''
                    OR (json_type(steps, '$[8].key') = 'text'
                        AND length(json_extract(steps, '$[8].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[8].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[8].day_offset'), '') = ''
                    OR (json_type(steps, '$[8].day_offset') = 'integer'
                        AND json_extract(steps, '$[8].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[8].condition'), '') = ''
                    OR (json_type(steps, '$[8].condition') = 'text'
                        AND json_extract(steps, '$[8].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[8].config'), '') = ''
                    OR (json_type(steps, '$[8].config') = 'object'))))
        AND (json_array_length(steps) <= 9
            OR (coalesce(json_type(steps, '$[9]'), '') = 'object'
                AND coalesce(json_type(steps, '$[9].channel'), '') = 'text'
                AND json_type(steps, '$[9].channel') = 'text'
                AND length(json_extract(steps, '$[9].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[9].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[9].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[9].step'), '') = ''
                    OR (json_type(steps, '$[9].step') = 'integer'
                        AND json_extract(steps, '$[9].step') >= 1))
                AND coalesce(json_type(steps, '$[9].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[9].enabled'), '') = ''
                    OR (json_type(steps, '$[9].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[9].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[9].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[9].variant_count'), '') = ''
                    OR (json_type(steps, '$[9].variant_count') = 'integer'
                        AND json_extract(steps, '$[9].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[9].key'), '') = ''
                    OR (json_type(steps, '$[9].key') = 'text'
                        AND length(json_extract(steps, '$[9].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[9].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[9].day_offset'), '') = ''
                    OR (json_type(steps, '$[9].day_offset') = 'integer'
                        AND json_extract(steps, '$[9].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[9].condition'), '') = ''
                    OR (json_type(steps, '$[9].condition') = 'text'
                        AND json_extract(steps, '$[9].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[9].config'), '') = ''
                    OR (json_type(steps, '$[9].config') = 'object'))))
        AND (json_array_length(steps) <= 10
            OR (coalesce(json_type(steps, '$[10]'), '') = 'object'
                AND coalesce(json_type(steps, '$[10].channel'), '') = 'text'
                AND json_type(steps, '$[10].channel') = 'text'
                AND length(json_extract(steps, '$[10].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[10].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[10].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[10].step'), '') = ''
                    OR (json_type(steps, '$[10].step') = 'integer'
                        AND json_extract(steps, '$[10].step') >= 1))
                AND coalesce(json_type(steps, '$[10].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[10].enabled'), '') = ''
                    OR (json_type(steps, '$[10].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[10].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[10].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[10].variant_count'), '') = ''
                    OR (json_type(steps, '$[10].variant_count') = 'integer'
                        AND json_extract(steps, '$[10].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[10].key'), '') = ''
                    OR (json_type(steps, '$[10].key') = 'text'
                        AND length(json_extract(steps, '$[10].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[10].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[10].day_offset'), '') = ''
                    OR (json_type(steps, '$[10].day_offset') = 'integer'
                        AND json_extract(steps, '$[10].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[10].condition'), '') = ''
                    OR (json_type(steps, '$[10].condition') = 'text'
                        AND json_extract(steps, '$[10].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[10].config'), '') = ''
                    OR (json_type(steps, '$[10].config') = 'object'))))
        AND (json_array_length(steps) <= 11
            OR (coalesce(json_type(steps, '$[11]'), '') = 'object'
                AND coalesce(json_type(steps, '$[11].channel'), '') = 'text'
                AND json_type(steps, '$[11].channel') = 'text'
                AND length(json_extract(steps, '$[11].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[11].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[11].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[11].step'), '') = ''
                    OR (json_type(steps, '$[11].step') = 'integer'
                        AND json_extract(steps, '$[11].step') >= 1))
                AND coalesce(json_type(steps, '$[11].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[11].enabled'), '') = ''
                    OR (json_type(steps, '$[11].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[11].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[11].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[11].variant_count'), '') = ''
                    OR (json_type(steps, '$[11].variant_count') = 'integer'
                        AND json_extract(steps, '$[11].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[11].key'), '') = ''
                    OR (json_type(steps, '$[11].key') = 'text'
                        AND length(json_extract(steps, '$[11].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[11].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[11].day_offset'), '') = ''
                    OR (json_type(steps, '$[11].day_offset') = 'integer'
                        AND json_extract(steps, '$[11].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[11].condition'), '') = ''
                    OR (json_type(steps, '$[11].condition') = 'text'
                        AND json_extract(steps, '$[11].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[11].config'), '') = ''
                    OR (json_type(steps, '$[11].config') = 'object'))))
        AND (json_array_length(steps) <= 12
            OR (coalesce(json_type(steps, '$[12]'), '') = 'object'
                AND coalesce(json_type(steps, '$[12].channel'), '') = 'text'
                AND json_type(steps, '$[12].channel') = 'text'
                AND length(json_extract(steps, '$[12].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[12].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[12].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[12].step'), '') = ''
                    OR (json_type(steps, '$[12].step') = 'integer'
                        AND json_extract(steps, '$[12].step') >= 1))
                AND coalesce(json_type(steps, '$[12].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[12].enabled'), '') = ''
                    OR (json_type(steps, '$[12].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[12].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[12].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[12].variant_count'), '') = ''
                    OR (json_type(steps, '$[12].variant_count') = 'integer'
                        AND json_extract(steps, '$[12].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[12].key'), '') = ''
                    OR (json_type(steps, '$[12].key') = 'text'
                        AND length(json_extract(steps, '$[12].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[12].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[12].day_offset'), '') = ''
                    OR (json_type(steps, '$[12].day_offset') = 'integer'
                        AND json_extract(steps, '$[12].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[12].condition'), '') = ''
                    OR (json_type(steps, '$[12].condition') = 'text'
                        AND json_extract(steps, '$[12].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[12].config'), '') = ''
                    OR (json_type(steps, '$[12].config') = 'object'))))
        AND (json_array_length(steps) <= 13
            OR (coalesce(json_type(steps, '$[13]'), '') = 'object'
                AND coalesce(json_type(steps, '$[13].channel'), '') = 'text'
                AND json_type(steps, '$[13].channel') = 'text'
                AND length(json_extract(steps, '$[13].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[13].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[13].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[13].step'), '') = ''
                    OR (json_type(steps, '$[13].step') = 'integer'
                        AND json_extract(steps, '$[13].step') >= 1))
                AND coalesce(json_type(steps, '$[13].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[13].enabled'), '') = ''
                    OR (json_type(steps, '$[13].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[13].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[13].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[13].variant_count'), '') = ''
                    OR (json_type(steps, '$[13].variant_count') = 'integer'
                        AND json_extract(steps, '$[13].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[13].key'), '') = ''
                    OR (json_type(steps, '$[13].key') = 'text'
                        AND length(json_extract(steps, '$[13].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[13].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[13].day_offset'), '') = ''
                    OR (json_type(steps, '$[13].day_offset') = 'integer'
                        AND json_extract(steps, '$[13].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[13].condition'), '') = ''
                    OR (json_type(steps, '$[13].condition') = 'text'
                        AND json_extract(steps, '$[13].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[13].config'), '') = ''
                    OR (json_type(steps, '$[13].config') = 'object'))))
        AND (json_array_length(steps) <= 14
            OR (coalesce(json_type(steps, '$[14]'), '') = 'object'
                AND coalesce(json_type(steps, '$[14].channel'), '') = 'text'
                AND json_type(steps, '$[14].channel') = 'text'
                AND length(json_extract(steps, '$[14].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[14].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[14].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[14].step'), '') = ''
                    OR (json_type(steps, '$[14].step') = 'integer'
                        AND json_extract(steps, '$[14].step') >= 1))
                AND coalesce(json_type(steps, '$[14].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[14].enabled'), '') = ''
                    OR (json_type(steps, '$[14].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[14].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[14].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[14].variant_count'), '') = ''
                    OR (json_type(steps, '$[14].variant_count') = 'integer'
                        AND json_extract(steps, '$[14].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[14].key'), '') = ''
                    OR (json_type(steps, '$[14].key') = 'text'
                        AND length(json_extract(steps, '$[14].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[14].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[14].day_offset'), '') = ''
                    OR (json_type(steps, '$[14].day_offset') = 'integer'
                        AND json_extract(steps, '$[14].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[14].condition'), '') = ''
                    OR (json_type(steps, '$[14].condition') = 'text'
                        AND json_extract(steps, '$[14].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[14].config'), '') = ''
                    OR (json_type(steps, '$[14].config') = 'object'))))
        AND (json_array_length(steps) <= 15
            OR (coalesce(json_type(steps, '$[15]'), '') = 'object'
                AND coalesce(json_type(steps, '$[15].channel'), '') = 'text'
                AND json_type(steps, '$[15].channel') = 'text'
                AND length(json_extract(steps, '$[15].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[15].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[15].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[15].step'), '') = ''
                    OR (json_type(steps, '$[15].step') = 'integer'
                        AND json_extract(steps, '$[15].step') >= 1))
                AND coalesce(json_type(steps, '$[15].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[15].enabled'), '') = ''
                    OR (json_type(steps, '$[15].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[15].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[15].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[15].variant_count'), '') = ''
                    OR (json_type(steps, '$[15].variant_count') = 'integer'
                        AND json_extract(steps, '$[15].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[15].key'), '') = ''
                    OR (json_type(steps, '$[15].key') = 'text'
                        AND length(json_extract(steps, '$[15].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[15].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[15].day_offset'), '') = ''
                    OR (json_type(steps, '$[15].day_offset') = 'integer'
                        AND json_extract(steps, '$[15].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[15].condition'), '') = ''
                    OR (json_type(steps, '$[15].condition') = 'text'
                        AND json_extract(steps, '$[15].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[15].config'), '') = ''
                    OR (json_type(steps, '$[15].config') = 'object'))))
        AND (json_array_length(steps) <= 16
            OR (coalesce(json_type(steps, '$[16]'), '') = 'object'
                AND coalesce(json_type(steps, '$[16].channel'), '') = 'text'
                AND json_type(steps, '$[16].channel') = 'text'
                AND length(json_extract(steps, '$[16].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[16].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[16].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[16].step'), '') = ''
                    OR (json_type(steps, '$[16].step') = 'integer'
                        AND json_extract(steps, '$[16].step') >= 1))
                AND coalesce(json_type(steps, '$[16].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[16].enabled'), '') = ''
                    OR (json_type(steps, '$[16].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[16].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[16].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[16].variant_count'), '') = ''
                    OR (json_type(steps, '$[16].variant_count') = 'integer'
                        AND json_extract(steps, '$[16].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[16].key'), '') = ''
                    OR (json_type(steps, '$[16].key') = 'text'
                        AND length(json_extract(steps, '$[16].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[16].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[16].day_offset'), '') = ''
                    OR (json_type(steps, '$[16].day_offset') = 'integer'
                        AND json_extract(steps, '$[16].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[16].condition'), '') = ''
                    OR (json_type(steps, '$[16].condition') = 'text'
                        AND json_extract(steps, '$[16].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[16].config'), '') = ''
                    OR (json_type(steps, '$[16].config') = 'object'))))
        AND (json_array_length(steps) <= 17
            OR (coalesce(json_type(steps, '$[17]'), '') = 'object'
                AND coalesce(json_type(steps, '$[17].channel'), '') = 'text'
                AND json_type(steps, '$[17].channel') = 'text'
                AND length(json_extract(steps, '$[17].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[17].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[17].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[17].step'), '') = ''
                    OR (json_type(steps, '$[17].step') = 'integer'
                        AND json_extract(steps, '$[17].step') >= 1))
                AND coalesce(json_type(steps, '$[17].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[17].enabled'), '') = ''
                    OR (json_type(steps, '$[17].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[17].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[17].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[17].variant_count'), '') = ''
                    OR (json_type(steps, '$[17].variant_count') = 'integer'
                        AND json_extract(steps, '$[17].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[17].key'), '') = ''
                    OR (json_type(steps, '$[17].key') = 'text'
                        AND length(json_extract(steps, '$[17].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[17].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[17].day_offset'), '') = ''
                    OR (json_type(steps, '$[17].day_offset') = 'integer'
                        AND json_extract(steps, '$[17].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[17].condition'), '') = ''
                    OR (json_type(steps, '$[17].condition') = 'text'
                        AND json_extract(steps, '$[17].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[17].config'), '') = ''
                    OR (json_type(steps, '$[17].config') = 'object'))))
        AND (json_array_length(steps) <= 18
            OR (coalesce(json_type(steps, '$[18]'), '') = 'object'
                AND coalesce(json_type(steps, '$[18].channel'), '') = 'text'
                AND json_type(steps, '$[18].channel') = 'text'
                AND length(json_extract(steps, '$[18].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[18].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[18].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[18].step'), '') = ''
                    OR (json_type(steps, '$[18].step') = 'integer'
                        AND json_extract(steps, '$[18].step') >= 1))
                AND coalesce(json_type(steps, '$[18].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[18].enabled'), '') = ''
                    OR (json_type(steps, '$[18].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[18].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[18].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[18].variant_count'), '') = ''
                    OR (json_type(steps, '$[18].variant_count') = 'integer'
                        AND json_extract(steps, '$[18].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[18].key'), '') = ''
                    OR (json_type(steps, '$[18].key') = 'text'
                        AND length(json_extract(steps, '$[18].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[18].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[18].day_offset'), '') = ''
                    OR (json_type(steps, '$[18].day_offset') = 'integer'
                        AND json_extract(steps, '$[18].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[18].condition'), '') = ''
                    OR (json_type(steps, '$[18].condition') = 'text'
                        AND json_extract(steps, '$[18].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[18].config'), '') = ''
                    OR (json_type(steps, '$[18].config') = 'object'))))
        AND (json_array_length(steps) <= 19
            OR (coalesce(json_type(steps, '$[19]'), '') = 'object'
                AND coalesce(json_type(steps, '$[19].channel'), '') = 'text'
                AND json_type(steps, '$[19].channel') = 'text'
                AND length(json_extract(steps, '$[19].channel')) BETWEEN 1 AND 40
                AND json_extract(steps, '$[19].channel') GLOB '[a-z]*'
                AND json_extract(steps, '$[19].channel') NOT GLOB '*[^a-z0-9_]*'
                AND (coalesce(json_extract(steps, '$[19].step'), '') = ''
                    OR (json_type(steps, '$[19].step') = 'integer'
                        AND json_extract(steps, '$[19].step') >= 1))
                AND coalesce(json_type(steps, '$[19].label'), 'null') IN ('null', 'text')
                AND (coalesce(json_extract(steps, '$[19].enabled'), '') = ''
                    OR (json_type(steps, '$[19].enabled') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[19].needs_pdf'), '') = ''
                    OR (json_type(steps, '$[19].needs_pdf') IN ('true', 'false')))
                AND (coalesce(json_extract(steps, '$[19].variant_count'), '') = ''
                    OR (json_type(steps, '$[19].variant_count') = 'integer'
                        AND json_extract(steps, '$[19].variant_count') BETWEEN 1 AND 3))
                AND (coalesce(json_extract(steps, '$[19].key'), '') = ''
                    OR (json_type(steps, '$[19].key') = 'text'
                        AND length(json_extract(steps, '$[19].key')) BETWEEN 1 AND 40
                        AND json_extract(steps, '$[19].key') NOT GLOB '*[^A-Za-z0-9_-]*'))
                AND (coalesce(json_extract(steps, '$[19].day_offset'), '') = ''
                    OR (json_type(steps, '$[19].day_offset') = 'integer'
                        AND json_extract(steps, '$[19].day_offset') BETWEEN 0 AND 365))
                AND (coalesce(json_extract(steps, '$[19].condition'), '') = ''
                    OR (json_type(steps, '$[19].condition') = 'text'
                        AND json_extract(steps, '$[19].condition') IN ('always', 'no_response', 'opened_not_replied')))
                AND (coalesce(json_extract(steps, '$[19].config'), '') = ''
                    OR (json_type(steps, '$[19].config') = 'object')))))
    THEN 0
    ELSE length(json_set('{}', '$."'
        || CASE
        WHEN json_array_length(steps) <= 0
        THEN '.0'
        ELSE coalesce(nullif(json_extract(steps, '$[0].key'), ''), 's1')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 1
        THEN '.1'
        ELSE coalesce(nullif(json_extract(steps, '$[1].key'), ''), 's2')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 2
        THEN '.2'
        ELSE coalesce(nullif(json_extract(steps, '$[2].key'), ''), 's3')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 3
        THEN '.3'
        ELSE coalesce(nullif(json_extract(steps, '$[3].key'), ''), 's4')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 4
        THEN '.4'
        ELSE coalesce(nullif(json_extract(steps, '$[4].key'), ''), 's5')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 5
        THEN '.5'
        ELSE coalesce(nullif(json_extract(steps, '$[5].key'), ''), 's6')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 6
        THEN '.6'
        ELSE coalesce(nullif(json_extract(steps, '$[6].key'), ''), 's7')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 7
        THEN '.7'
        ELSE coalesce(nullif(json_extract(steps, '$[7].key'), ''), 's8')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 8
        THEN '.8'
        ELSE coalesce(nullif(json_extract(steps, '$[8].key'), ''), 's9')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 9
        THEN '.9'
        ELSE coalesce(nullif(json_extract(steps, '$[9].key'), ''), 's10')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 10
        THEN '.10'
        ELSE coalesce(nullif(json_extract(steps, '$[10].key'), ''), 's11')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 11
        THEN '.11'
        ELSE coalesce(nullif(json_extract(steps, '$[11].key'), ''), 's12')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 12
        THEN '.12'
        ELSE coalesce(nullif(json_extract(steps, '$[12].key'), ''), 's13')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 13
        THEN '.13'
        ELSE coalesce(nullif(json_extract(steps, '$[13].key'), ''), 's14')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 14
        THEN '.14'
        ELSE coalesce(nullif(json_extract(steps, '$[14].key'), ''), 's15')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 15
        THEN '.15'
        ELSE coalesce(nullif(json_extract(steps, '$[15].key'), ''), 's16')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 16
        THEN '.16'
        ELSE coalesce(nullif(json_extract(steps, '$[16].key'), ''), 's17')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 17
        THEN '.17'
        ELSE coalesce(nullif(json_extract(steps, '$[17].key'), ''), 's18')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 18
        THEN '.18'
        ELSE coalesce(nullif(json_extract(steps, '$[18].key'), ''), 's19')
        END
        || '"', 0, '$."'
        || CASE
        WHEN json_array_length(steps) <= 19
        THEN '.19'
        ELSE coalesce(nullif(json_extract(steps, '$[19].key'), ''), 's20')
        END
        || '"', 0)) = length(json_object(CASE
        WHEN json_array_length(steps) <= 0
        THEN '.0'
        ELSE coalesce(nullif(json_extract(steps, '$[0].key'), ''), 's1') END, 0, CASE
        WHEN json_array_length(steps) <= 1
        THEN '.1'
        ELSE coalesce(nullif(json_extract(steps, '$[1].key'), ''), 's2') END, 0, CASE
        WHEN json_array_length(steps) <= 2
        THEN '.2'
        ELSE coalesce(nullif(json_extract(steps, '$[2].key'), ''), 's3') END, 0, CASE
        WHEN json_array_length(steps) <= 3
        THEN '.3'
        ELSE coalesce(nullif(json_extract(steps, '$[3].key'), ''), 's4') END, 0, CASE
        WHEN json_array_length(steps) <= 4
        THEN '.4'
        ELSE coalesce(nullif(json_extract(steps, '$[4].key'), ''), 's5') END, 0, CASE
        WHEN json_array_length(steps) <= 5
        THEN '.5'
        ELSE coalesce(nullif(json_extract(steps, '$[5].key'), ''), 's6') END, 0, CASE
        WHEN json_array_length(steps) <= 6
        THEN '.6'
        ELSE coalesce(nullif(json_extract(steps, '$[6].key'), ''), 's7') END, 0, CASE
        WHEN json_array_length(steps) <= 7
        THEN '.7'
        ELSE coalesce(nullif(json_extract(steps, '$[7].key'), ''), 's8') END, 0, CASE
        WHEN json_array_length(steps) <= 8
        THEN '.8'
        ELSE coalesce(nullif(json_extract(steps, '$[8].key'), ''), 's9') END, 0, CASE
        WHEN json_array_length(steps) <= 9
        THEN '.9'
        ELSE coalesce(nullif(json_extract(steps, '$[9].key'), ''), 's10') END, 0, CASE
        WHEN json_array_length(steps) <= 10
        THEN '.10'
        ELSE coalesce(nullif(json_extract(steps, '$[10].key'), ''), 's11') END, 0, CASE
        WHEN json_array_length(steps) <= 11
        THEN '.11'
        ELSE coalesce(nullif(json_extract(steps, '$[11].key'), ''), 's12') END, 0, CASE
        WHEN json_array_length(steps) <= 12
        THEN '.12'
        ELSE coalesce(nullif(json_extract(steps, '$[12].key'), ''), 's13') END, 0, CASE
        WHEN json_array_length(steps) <= 13
        THEN '.13'
        ELSE coalesce(nullif(json_extract(steps, '$[13].key'), ''), 's14') END, 0, CASE
        WHEN json_array_length(steps) <= 14
        THEN '.14'
        ELSE coalesce(nullif(json_extract(steps, '$[14].key'), ''), 's15') END, 0, CASE
        WHEN json_array_length(steps) <= 15
        THEN '.15'
        ELSE coalesce(nullif(json_extract(steps, '$[15].key'), ''), 's16') END, 0, CASE
        WHEN json_array_length(steps) <= 16
        THEN '.16'
        ELSE coalesce(nullif(json_extract(steps, '$[16].key'), ''), 's17') END, 0, CASE
        WHEN json_array_length(steps) <= 17
        THEN '.17'
        ELSE coalesce(nullif(json_extract(steps, '$[17].key'), ''), 's18') END, 0, CASE
        WHEN json_array_length(steps) <= 18
        THEN '.18'
        ELSE coalesce(nullif(json_extract(steps, '$[18].key'), ''), 's19') END, 0, CASE
        WHEN json_array_length(steps) <= 19
        THEN '.19'
        ELSE coalesce(nullif(json_extract(steps, '$[19].key'), ''), 's20') END, 0))
    AND coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[12].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[13].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[12].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[14].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[13].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[15].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[14].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[16].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[14].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[15].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[17].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[14].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[15].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[16].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[18].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[14].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[15].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[16].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[17].day_offset'), ''), 0))
    AND coalesce(nullif(json_extract(steps, '$[19].day_offset'), ''), 365) >= max(0, coalesce(nullif(json_extract(steps, '$[0].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[1].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[2].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[3].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[4].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[5].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[6].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[7].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[8].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[9].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[10].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[11].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[12].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[13].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[14].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[15].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[16].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[17].day_offset'), ''), 0), coalesce(nullif(json_extract(steps, '$[18].day_offset'), ''), 0))
    END
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_default_config CHECK (
    CASE
    WHEN NOT json_valid(default_config)
    THEN 0
    WHEN json_type(default_config) <> 'object'
    THEN 0
    ELSE typeof(default_config) = 'text'
    AND instr(default_config, char(0)) = 0
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u0000*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u005[fF]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u006[1-9a-fA-F]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u007[0-9aA]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??[^\]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\[^u]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[^dD]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u[dD][89abAB]??\u[dD][^c-fC-F]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*[^\]?????\u[dD][c-fC-F]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\[^u]????\u[dD][c-fC-F]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u[^dD]???\u[dD][c-fC-F]*'
    AND replace('//////' || default_config, '\\', '//') NOT GLOB '*\u[dD][^89abAB]??\u[dD][c-fC-F]*'
    AND coalesce(json_type(default_config, '$.tone'), 'null') IN ('null', 'text')
    AND (coalesce(json_extract(default_config, '$.language'), '') = ''
        OR (json_type(default_config, '$.language') = 'text'
            AND json_extract(default_config, '$.language') GLOB '[A-Za-z][A-Za-z]*'
            AND json_extract(default_config, '$.language') NOT GLOB '*[^A-Za-z0-9-]*'
            AND json_extract(default_config, '$.language') NOT GLOB '*[A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9]*'
            AND json_extract(default_config, '$.language') NOT GLOB '*-'
            AND json_extract(default_config, '$.language') NOT GLOB '*--*'
            AND json_extract(default_config, '$.language') NOT GLOB '*-*-*-*-*'
            AND json_extract(default_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][0-9]*'
            AND json_extract(default_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][0-9]*'
            AND json_extract(default_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'
            AND json_extract(default_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'
            AND json_extract(default_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'
            AND json_extract(default_config, '$.language') NOT GLOB '[A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][A-Za-z][0-9]*'))
    AND (coalesce(json_extract(default_config, '$.custom_instructions'), '') = ''
        OR (json_type(default_config, '$.custom_instructions') = 'text'
            AND length(json_extract(default_config, '$.custom_instructions')) BETWEEN 0 AND 10000))
    AND (coalesce(json_extract(default_config, '$.default_variant_count'), '') = ''
        OR (json_type(default_config, '$.default_variant_count') = 'integer'
            AND json_extract(default_config, '$.default_variant_count') BETWEEN 1 AND 3))
    AND (coalesce(json_extract(default_config, '$.budget'), '') = ''
        OR (json_type(default_config, '$.budget') = 'text'
            AND json_extract(default_config, '$.budget') GLOB '[0-9]*'
            AND json_extract(default_config, '$.budget') NOT GLOB '*[^0-9.]*'
            AND json_extract(default_config, '$.budget') NOT GLOB '0[0-9]*'
            AND json_extract(default_config, '$.budget') NOT GLOB '*[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]*'
            AND json_extract(default_config, '$.budget') NOT GLOB '*.'
            AND json_extract(default_config, '$.budget') NOT GLOB '*.*.*'))
    END
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_is_system CHECK (
    is_system = (tenant_id IS NULL)
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_shipped_digest CHECK (
    shipped_digest IS NULL
    OR (typeof(shipped_digest) = 'text' AND instr(shipped_digest, char(0)) = 0)
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_version CHECK (
    typeof(version) = 'integer'
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_created_at CHECK (
    CASE
    WHEN typeof(created_at) = 'text'
    AND length(CAST(created_at AS BLOB)) = 26
    AND created_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
    AND created_at BETWEEN '0001-01-02 00:00:00.000000'
    AND '9999-12-30 00:00:00.000000'
    THEN coalesce(datetime(substr(created_at, 1, 19), '+0 days') = substr(created_at, 1, 19), 0)
    ELSE 0
    END
)

-- on campaign_templates
CONSTRAINT ck_campaign_templates_updated_at CHECK (
    CASE
    WHEN typeof(updated_at) = 'text'
    AND length(CAST(updated_at AS BLOB)) = 26
    AND updated_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]'
    AND updated_at BETWEEN '0001-01-02 00:00:00.000000'
    AND '9999-12-30 00:00:00.000000'
    THEN coalesce(datetime(substr(updated_at, 1, 19), '+0 days') = substr(updated_at, 1, 19), 0)
    ELSE 0
    END
)

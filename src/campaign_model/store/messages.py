"""Find, in SQL, the messages of the host that reviewers read and exporters send.

A message is *present* if it belongs to the present revision of a generated contact, and to an
enabled step and a variant of the campaign. Its id says the same, but SQL cannot compute ids. So the
host keeps what the id is made of beside the message, in the columns of ``MESSAGE_COLUMNS``.
"""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from campaign_model.errors import InvalidArgument, join_words
from campaign_model.steps import StepSequence
from campaign_model.store.scope import Scope
from campaign_model.store.statements import GENERATED
from campaign_model.store.tables import campaign_contacts

MESSAGE_COLUMNS = ("tenant_id", "campaign_contact_id", "revision", "step_key", "variant")


def is_present(
    scope: Scope, campaign_id: UUID, steps: StepSequence, messages: sa.FromClause
) -> sa.ColumnElement[bool]:
    """Build the condition that a row of ``messages`` may be reviewed and sent.

    Such a row is for a slot of ``steps``, the campaign's, and for the present revision of a
    generated contact. Raise :class:`InvalidArgument` if ``messages`` lacks a column.
    """
    missing = [name for name in MESSAGE_COLUMNS if name not in messages.c]
    if missing:
        advice = f"the table of messages has no column {join_words(missing)}"
        raise InvalidArgument("messages", advice)
    message, contact = messages.c, campaign_contacts.alias("contact_of_message")
    variants_by_key: dict[str, list[str]] = {}
    for slot in steps.slots():
        variants_by_key.setdefault(slot.step_key, []).append(slot.variant)
    return sa.and_(
        message.tenant_id == scope.tenant_id,
        sa.or_(
            sa.false(),  # Without steps, no message may.
            *(
                sa.and_(message.step_key == key, message.variant.in_(variants))
                for key, variants in variants_by_key.items()
            ),
        ),
        sa.exists().where(
            scope.of_campaign(contact, campaign_id),
            contact.c.id == message.campaign_contact_id,
            contact.c.revision == message.revision,
            contact.c.status == GENERATED.value,
        ),
    )

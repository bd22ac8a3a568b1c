"""Adoption: bring a legacy PostgreSQL database to the library's schema, in place.

Other programs read and write while it runs. It has two steps, each a run of its own. *Expand*
(``adopt``) leaves out every constraint that could refuse a write of an old service. *Enforce*
(``enforce``) adds them. Both do this, with these modules:

1. **Inspect** (``inspection``, ``catalog``, ``host_checks``). Read the catalog and compare it with
   the expected schema. If the database cannot be adopted, say why and end.
2. **Audit** (``audit``, ``audit_keys``, ``report``). Read every row in batches, and list what each
   value becomes. If a value cannot be kept or repaired without a decision, refuse: nothing has been
   changed. A dry run ends here.
3. **Complete** (``plan``). Add the missing tables and columns. New columns are NULL or have a
   constant default, so no table is rewritten, and old services notice nothing.
4. **Repair** (``repair``). Repair rows in short transactions: lock a batch, change
   it, commit. One column of each table (``plan.MARKERS``) is NULL until its row is repaired.
5. **Constrain** (``plan``). Add the step's keys and constraints, NOT VALID: they bind writers from
   now on, and take no long lock. In the step expand, also add the triggers that complete the writes
   of old services (``tolerance``). Then repair the rows that were added since 4.
6. **Validate** (``plan``). Check the old rows against the constraints, set columns NOT NULL, build
   the indexes. In the step enforce, drop the triggers.
7. **Recount** (``repair``). In the step expand, count the totals of campaigns again whose contacts
   have changed since 4. Later, workers of this library may run, and the store corrects totals.
8. **Record** (``run``). Record the version and sync the system templates, in one transaction.

The invariant: *a database with a recorded version satisfies the schema of its step, and no value
was lost.*
These things protect it.

- The version is recorded last.
- No list of finished steps is kept. Every run inspects and plans anew, and selects the rows that
  need a repair. So an adoption that was killed at any statement is continued by the next one, and a
  second adoption finds nothing to do.
- The audit and the repair of a table share their SQL (``repair_templates``, ``repair_contacts``,
  ``repair_messages``, ``repair_campaigns``, ``repair_documents``), so a dry run tells what the
  repair does.
- The quarantine takes only the members of a document that the library cannot read
  (``unreadable``).

``run`` has the steps in order. ``session`` runs the statements with a short lock timeout and tries
again. ``legacy_database`` hides from the SQL which columns a database has, and writes what all
repairs have in common. ``script`` writes the same steps as an SQL script for psql. Only one
adoption runs at a time (``db.setup``).
"""

"""The command ``campaign-model demo``: one campaign from template to export.

- ``walkthrough``: the demo's steps in order, with what they print (``run_demo``)
- ``contacts_csv``: reads the user's contacts file
- ``host_tables``: the tables that a service has beside the library's, and the contacts in them
- ``message_writer``: writes a contact's messages; takes the place of a language model
- ``workers``: one worker process that is killed, and the workers that finish the generation
- ``progress_view``: a progress bar, or one line per quarter where output is not a terminal
- ``messages``: the review, the review tally and the costs of the messages
- ``export_file``: the approved messages as JSON Lines
"""

from campaign_model.cli.demo.walkthrough import run_demo

__all__ = ["run_demo"]

"""The command ``campaign-model demo``: one campaign from template to export.

- ``walkthrough``: the demo's steps in order, with what they print (``run_demo``)
- ``contacts``: reads the user's contacts file, and saves the contacts
- ``messages``: writes, reviews and exports the messages
- ``workers``: one worker process that is killed, and the workers that finish the generation
"""

from campaign_model.cli.demo.walkthrough import run_demo

__all__ = ["run_demo"]

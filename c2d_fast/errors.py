"""The one exception for what a user can mend."""


class UserError(ValueError):
    """The user's input breaks a rule: the commands print its one line on stderr and exit with status 2.

    The message names the thing, its value, the rule, and what to do next.
    """

    def __init__(self, message: str):
        # Names come from files: what would move a terminal's cursor is shown, not sent.
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(message.split())))

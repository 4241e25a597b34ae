"""What the slim client leaves to boto3."""


class Unusual(Exception):
    """This call is for boto3; so are all later ones if `lasting` says why."""

    def __init__(self, lasting: str = "") -> None:
        super().__init__(lasting)
        self.lasting = lasting

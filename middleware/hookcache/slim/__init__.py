"""
A slim client for the calls of a hit and of keeping an answer: same methods, replies and exceptions as boto3's clients.

    place.py     may it be used here at all? endpoint, region, credentials, trusted roots: else boto3
    signing.py   Signature Version 4
    wire.py      kept connections to one endpoint, one exchange at a time
    connection.py  one of them, and the reply that is read from it
    asking.py    one way of asking: signed, repeated, or left to boto3
    services.py  the operations, as boto3 spells them

boto3 takes 300 to 400 ms of CPU to import and to make three clients; a first answer from the table needs two GetItem.
Whatever is unusual goes to boto3, by itself: a place, an operation or an argument that is not known here, a reply that
says that the signature or its credentials are no good (docs/adr/0010). `HOOKCACHE_CLIENT=boto3` takes it out of use.
"""

from hookcache.slim.place import Place
from hookcache.slim.services import SlimDynamoDB, SlimLambda, SlimS3, SlimSecrets

__all__ = ["Place", "SlimDynamoDB", "SlimLambda", "SlimS3", "SlimSecrets"]

"""Makes a CSV of support tickets, by a seed: `python tests/helpers/tickets.py 500 > tickets.csv`.

Columns are id, received, customer, message and queue. A message has an opening, one or two
sentences of its queue, one that any ticket may have, and a close. One in fifty lies in a wrong
queue.
"""

import csv
import random
import sys
from collections.abc import Iterator
from typing import TextIO

HEADER = ("id", "received", "customer", "message", "queue")
OPENINGS = ("Hello,", "Hi there.", "Good morning!", "Dear team,", "To whom it may concern:", "")
CLOSES = ("Thanks.", "Please help!", "Regards, {name}", "I need this today.", "Best, {name}", "")
NAMES = ("Ana", "Bo", "Chidi", "Dana", "Eun-ji", "Farid", "Grażyna", "Hugo", "Ines", "Jun")
FILLERS = (
    "I have been a customer for {n} years.",
    "My order number is {n}.",
    "I wrote to you {n} days ago and got no answer.",
    "A colleague of mine has seen the same.",
    "I tried to call, and waited for {n} minutes.",
    "It is rather urgent for us.",
)
SENTENCES = {
    "billing": (
        "I was charged twice for {month}.",
        "The invoice of {month} shows {n} dollars too much.",
        "Please refund the payment of {n} euros.",
        "My credit card was declined although it is valid.",
        "Why did the price of my plan go up in {month}?",
        "There is a fee of {n} dollars on my bill that I do not know.",
        "Can I get a receipt with our tax number?",
        "The discount code was not taken off the total.",
        "The amount on my statement does not match what we agreed.",
        "You took money for a trial that I ended in {month}.",
        "Our accountant asks for a corrected document of {month}.",
        "I pay for {n} seats and use half of them.",
        "The bank sent the transfer of {n} euros back.",
        "May we pay by the year instead of by the month?",
        "It still bills the old company name.",
        "I cancelled, yet {n} dollars were withdrawn again.",
    ),
    "technical": (
        "The app crashes when I open the {page} page.",
        "Since the update, the {page} page shows error {n}.",
        "Uploading a file of {n} MB never finishes.",
        "The screen stays white in my browser.",
        "Synchronisation stops at {n} percent.",
        "The server answers with a timeout.",
        "Notifications do not arrive on my phone any more.",
        "Searching for anything freezes the program.",
        "After I press save on the {page} page, nothing happens.",
        "It logs out of itself every {n} seconds.",
        "The {page} page takes {n} seconds to load.",
        "Pictures are shown upside down.",
        "The installer ends with code {n}.",
        "Printing the {page} page gives empty sheets.",
        "The camera is not found by your program.",
        "All my settings are gone since version {n}.",
    ),
    "account": (
        "I forgot my password and the link does not arrive.",
        "Please change the e-mail address I log in with.",
        "How can I delete my profile and all its data?",
        "I am locked out after {n} wrong attempts to log in.",
        "Two-factor login asks for a code I never get.",
        "Add {name} as a second user with admin rights.",
        "My user name is spelled wrong, can you rename it?",
        "Somebody signed in to my account from another country.",
        "My new phone cannot receive the code to sign in.",
        "Close the account of {name}, who left our company.",
        "I want to merge my two profiles.",
        "The link to confirm my address has expired.",
        "Why am I asked to verify who I am again?",
        "Please give {name} the role of an owner.",
        "The password rules refuse everything I type.",
        "I no longer have the e-mail I registered with.",
    ),
    "shipping": (
        "The parcel has not arrived since {month}.",
        "Tracking says delivered, but the box is not here.",
        "The package came with {n} items missing.",
        "Please send it to another address than last time.",
        "The courier left it in the rain and it is damaged.",
        "When will the delivery from the warehouse leave?",
        "I received somebody else's goods.",
        "Can you ship to Portugal by {month}?",
        "My order went to the old address.",
        "Half of the {n} boxes are crushed.",
        "The driver did not ring and left a card.",
        "Customs have held it since {month}.",
        "I would like to collect it at the depot instead.",
        "Where is my parcel with {n} books?",
        "The wrong size came, how do I send it back?",
        "It was handed to a neighbour who does not exist.",
    ),
    "ideas": (
        "It would be great to have a dark theme.",
        "Could you add an export to spreadsheets?",
        "I wish the {page} page had a filter.",
        "Please consider supporting more languages.",
        "A shortcut for archiving would save us {n} clicks.",
        "Have you thought of a calendar view?",
        "I suggest larger fonts on the {page} page.",
        "We would love an integration with our chat.",
        "How about reminders before a deadline?",
        "The {page} page could remember what I chose.",
        "Would voice input be possible one day?",
        "Please think about an offline mode.",
        "A summary by mail every week would be nice.",
        "Let us sort the list by date, please.",
        "You should offer templates for {n} countries.",
        "An undo button would make my day.",
    ),
}
MONTHS = ("January", "March", "May", "July", "October", "December")
PAGES = ("invoice", "settings", "delivery", "profile", "search", "payment")


def rows(count: int, seed: int = 0) -> Iterator[tuple[str, ...]]:
    """Makes rows, without the header."""
    draw = random.Random(seed)
    queues = [*SENTENCES]
    for i in range(count):
        queue = draw.choices(queues, (5, 4, 3, 2, 2))[0]
        body = draw.sample(SENTENCES[queue], draw.choice((1, 1, 2)))
        if draw.random() < 0.7:
            body.insert(draw.randrange(len(body) + 1), draw.choice(FILLERS))
        said = " ".join([draw.choice(OPENINGS), *body, draw.choice(CLOSES)]).strip()
        message = said.format(
            n=draw.randrange(2, 900),
            name=draw.choice(NAMES),
            month=draw.choice(MONTHS),
            page=draw.choice(PAGES),
        )
        day = f"2026-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}"
        queue = draw.choice(queues) if draw.random() < 0.02 else queue
        yield str(1000 + i), day, draw.choice(NAMES), message, queue


def write(file: TextIO, count: int, seed: int = 0) -> None:
    """Writes a header and rows as CSV."""
    writer = csv.writer(file)
    writer.writerow(HEADER)
    writer.writerows(rows(count, seed))


if __name__ == "__main__":
    write(sys.stdout, int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)

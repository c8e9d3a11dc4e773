"""The categories and the scopes of blame."""

from bouncekit.meaning.classification import Category, Scope, Step, scope_of


def test_every_category_but_unknown_blames_exactly_one() -> None:
    blamed = {category for category in Category if scope_of(category) is not None}
    assert blamed == set(Category) - {Category.UNKNOWN}


def test_there_are_thirty_categories_and_four_scopes() -> None:
    assert (len(Category), len(Scope)) == (30, 4)


def test_faults_of_the_server_the_sender_and_the_message_are_not_the_recipients() -> None:
    for category in (Category.SYSTEM_FULL, Category.GREYLISTED, Category.TOO_MANY_RECIPIENTS, Category.NETWORK_ERROR):
        assert scope_of(category) is Scope.ROUTE
    for category in (Category.BLOCKLISTED, Category.RELAY_DENIED, Category.RATE_LIMITED, Category.SUPPRESSED):
        assert scope_of(category) is Scope.SENDER
    assert scope_of(Category.MESSAGE_TOO_BIG) is Scope.MESSAGE
    assert scope_of(Category.MAILBOX_FULL) is Scope.RECIPIENT


def test_the_steps_stand_in_the_order_of_judgement() -> None:
    assert [step.value for step in Step] == [
        "own", "community", "provider", "table", "enhanced", "text", "subject", "code", "digit", "no_reply",
    ]  # fmt: skip

"""Numbers of cards, accounts and persons: by their check digits or their names, and no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from plum_langchain.screening.identifiers import (
    _FORMS,
    _standard,
    find_contacts,
    find_identifiers,
)

FOUND = {
    "my card is 4111 1111 1111 1111": "payment card",
    "pay with 4111-1111-1111-1111 then": "payment card",
    "amex 378282246310005": "payment card",
    "card number 4111111111111112": "payment card",  # mistyped: its name says what it is
    "IBAN DE89 3704 0044 0532 0130 00 please": "bank account",
    "send it to de89370400440532013000": "bank account",
    "account number 12345678": "bank account",
    "536-90-4399": "identity number",
    "social security number 536904399": "identity number",
    "My SSN is 912-70-1234": "identity number",  # none that was ever given out
    "passport number is C01X00T47": "identity number",
    "my CPF is 390.533.447-05": "identity number",
    "my tax number is 501 964 843": "identity number",
    "131052-308T": "identity number",
    "11010519491231002X": "identity number",
    "mi dni es 1234567": "identity number",
    "My NIE is X 12345": "identity number",
    "パスポート番号は TK1234567 です": "identity number",
}

ORDINARY = [
    "the bakery's phone number is 223 456 789",
    "call Ana on +351 912 345 678",
    "I paid 12,500 euros in 2019",
    "our turnover was 4111111 in 2023 and 4200000 in 2024",
    "the order number is 4500012345",
    "ISBN 978-3-16-148410-0",
    "4111 1111 1111 1112",  # no payment card: the check digit is wrong
    "flight TP1234 on 21 August 2024 at 10:35",
    "my account is overdrawn by 20 euros",
    "I opened a bank account in 2019 with 12,000 euros",
    "my passport expires in 2027 on 12 March",
    "my passport expires on 12/03/2027",
    "passport photos cost 15 euros for 4 of them",
    "I need a new credit card for 2025, limit 5,000",
    "my oven has 2 decks, 8 trays and runs 200-250 degrees",
    "tracking id 466928152404255747",  # a Chinese identity number, but for its county
    "Ich schaffe nie mehr als 12000 Schritte am Tag.",
    "Za 10 dni przebiegnę 42195 metrów w Warszawie.",
    "Nino's microchip starts with 98100.",
]


@pytest.mark.parametrize(("text", "sort"), FOUND.items())
def test_identifiers_are_found(text: str, sort: str) -> None:
    assert {found.sort for found in find_identifiers(text)} == {sort}


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_numbers_are_not(text: str) -> None:
    assert not list(find_identifiers(text))


@given(st.from_regex(r"4[0-9]{14}", fullmatch=True), st.sampled_from(["", " ", "-"]))
def test_every_card_is_found_however_it_is_written(digits: str, gap: str) -> None:
    number = digits + luhn.calc_check_digit(digits)
    written = gap.join(number[i : i + 4] for i in range(0, 16, 4))
    found = list(find_identifiers(f"it's {written}, thanks"))
    assert found[0].sort == "payment card" and found[0].values == (written,)


def test_contacts_are_found_where_they_are_looked_for() -> None:
    text = "Ana is at ana.silva@example.pt or +351 912 345 678, since 2019-2024"
    assert [found.sort for found in find_contacts(text)] == ["e-mail address", "phone number"]


@pytest.mark.parametrize(("name", "form"), _FORMS)
@given(data=st.data())
def test_every_form_can_be_checked(name: str, form: str, data: st.DataObject) -> None:
    number = data.draw(st.from_regex(form, fullmatch=True))
    valid = _standard(name)(number)
    found = [one for one in find_identifiers(f"it's {number} now") if one.values == (number,)]
    assert bool(found) >= valid

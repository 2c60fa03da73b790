"""Numbers that stand for a person, a card or an account: by python-stdnum, and by their names.

A number is one by itself only where its form is rare and its check digits are right. Others count
only beside their name ("my passport number is ..."), so that prices, years and the phone number of
a bakery stay.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

from plum_langchain.screening.spans import Found, Sort

_CARD = re.compile(r"(?<![\w.,+-])\d(?:[ -]?\d){12,18}(?![\w-]|[.,]\d)")
_CARD_BEGINS = {  # of the lengths that payment cards have
    13: ("4",), 14: ("30", "36", "38", "39"), 15: ("34", "37"), 16: tuple("23456"),
    17: ("6",), 18: ("6",), 19: ("4", "6"),
}  # fmt: skip
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,34}(?!\w)", re.ASCII)

_FORMS: tuple[tuple[str, str], ...] = (
    ("us.ssn", r"\d{3}-\d{2}-\d{4}"),
    ("it.codicefiscale", r"[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]"),
    ("mx.curp", r"[A-Z]{4}\d{6}[A-Z]{6}[A-Z0-9]\d"),
    ("fi.hetu", r"\d{6}[-+A-F]\d{3}[0-9A-Y]"),
    ("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
    ("kr.rrn", r"\d{6}-\d{7}"),
    ("se.personnummer", r"(?:\d{2})?\d{6}[-+]\d{4}"),
    ("dk.cpr", r"\d{6}-\d{4}"),
    ("cz.rc", r"\d{6}/\d{4}"),
    ("cn.ric", r"\d{17}[0-9X]"),
    ("fr.nir", r"[12] ?\d{2} ?\d{2} ?\d[0-9AB] ?\d{3} ?\d{3} ?\d{2}"),
    ("es.dni", r"\d{8}-?[A-Z]"),
    ("es.nie", r"[XYZ]-?\d{7}-?[A-Z]"),
    ("ie.pps", r"\d{7}[A-W][ABHWTX]?"),
    ("in_.pan", r"[A-Z]{5}\d{4}[A-Z]"),
    ("in_.aadhaar", r"\d{4} \d{4} \d{4}"),
)
"""Modules of stdnum, and how their numbers are written where nothing else is written so."""

_NUMBERS = r"[\s\-]+(?:no\.?|nr\.?|nos?\.|num(?:ber)?s?|#|id)"
_NAMES: tuple[tuple[Sort, str], ...] = (
    (
        "payment card",
        rf"(?:(?:credit|debit|bank|payment|visa|master|amex)[ -]?card|card{_NUMBERS}|"
        r"kreditkarten?\w*|tarjeta de (?:crédito|débito)|carte bancaire)",
    ),
    (
        "bank account",
        rf"(?:iban|(?:bank |savings |current |checking )?account{_NUMBERS}|bank account|"
        r"routing number|sort code|kontonummer|kontonr\.?|número de cuenta|numéro de compte)",
    ),
    (
        "identity number",
        rf"(?:ssn|social (?:security|insurance)(?:{_NUMBERS})?|passport(?:{_NUMBERS})?|"
        rf"(?:national|personal|tax)(?: id(?:entity|entification)?)?{_NUMBERS}|"
        rf"national (?:id|identity)(?: card)?|tax id|(?:identity|id)[ -]card(?:{_NUMBERS})?|"
        rf"(?:driver'?s?'?|driving)[ -]licen[cs]e(?:{_NUMBERS})?|national insurance(?:{_NUMBERS})?|"
        rf"(?:health|medical) insurance{_NUMBERS}|nhs number|medicare number|pesel|bsn|"
        r"aadhaar|personnummer|fødselsnummer|henkilötunnus|steuer-?id\w*|sozialversicherungsnummer|"
        r"reisepass\w*|ausweis\w*|pasaporte|passeport|passaporte|passaporto|nif|cpf|"
        # In small letters a name, "never" in German and "days" in Polish.
        r"(?-i:NINO|NIE|DNI)|(?:mi|su|el|número de) dni|número de nie|"
        r"codice fiscale|numéro de sécurité sociale|rodné číslo|паспорт\w*|снилс|инн|"
        r"(?:身份证|護照|护照|パスポート番号|マイナンバー|주민등록번호|여권번호)\D{0,3}?)",
    ),
)
_NAMED = tuple(
    (sort, re.compile(rf"(?<!\w)(?:{names})(?!\w)(?P<behind>[^\n.!?]{{0,80}})", re.IGNORECASE))
    for sort, names in _NAMES
)
_NUMBER = re.compile(r"[A-Za-z0-9]*\d[A-Za-z0-9]*(?:[ \-./][A-Za-z0-9]*\d[A-Za-z0-9]*)*")
_LEAST_DIGITS = {"payment card": 12}
_FEW_DIGITS = 5  # that a number has which only its name makes one; a year has four
_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})|\d{4}[./-]\d{1,2}[./-]\d{1,2}")
_MONEY = re.compile(
    r"\s*(?:euros?|dollars?|pounds?|kron[ae]r?|usd|eur|gbp|sek|€|\$|£|%|km|kg)(?!\w)", re.IGNORECASE
)

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@\w[\w-]*(?:\.\w[\w-]*)+")
_PHONE = re.compile(r"(?<![\w.,+-])(?:\+|00|0|\()\d?(?:[ ().\-/]{0,2}\d){7,14}(?![\w-]|[.,]\d)")


@cache
def _standard(name: str) -> Callable[[str], bool]:
    """Whether the check digits of a number are right; its module is imported when one is met."""
    of_module: Callable[[str], bool] = import_module(f"stdnum.{name}").is_valid

    def is_valid(number: str) -> bool:
        try:
            return of_module(number)
        except Exception:  # as cn.ric's KeyError, of a county that there isn't
            return False

    return is_valid


def find_identifiers(text: str) -> Iterator[Found]:
    """Payment cards, bank accounts, and the numbers of passports, taxes and social security."""
    if not re.search(r"\d", text):
        return
    for match in _CARD.finditer(text):
        card = re.sub(r"\D", "", match.group())
        if card.startswith(_CARD_BEGINS.get(len(card), ())) and _standard("luhn")(card):
            yield Found(*match.span(), "payment card", (match.group(),))
    for match in _IBAN.finditer(text):
        account = match.group()
        while len(account) >= 15 and not _standard("iban")(account):  # words may follow it
            account = account[:-1].rstrip(" -")
        if len(account) >= 15:
            yield Found(match.start(), match.start() + len(account), "bank account", (account,))
    for name, form in _patterns():
        for match in form.finditer(text):
            if _standard(name)(match.group()):
                yield Found(*match.span(), "identity number", (match.group(),))
    for sort, named in _NAMED:
        for match in named.finditer(text):
            for number in _NUMBER.finditer(text, *match.span("behind")):
                digits = sum(c.isdigit() for c in number.group())
                dated = _DATE.fullmatch(number.group()) or _MONEY.match(text, number.end())
                if digits >= _LEAST_DIGITS.get(sort, _FEW_DIGITS) and not dated:
                    yield Found(*number.span(), sort, (number.group(),))


@cache
def _patterns() -> tuple[tuple[str, "re.Pattern[str]"], ...]:
    return tuple(
        (name, re.compile(rf"(?<![\w.,/-])(?:{form})(?![\w/-]|[.,]\d)")) for name, form in _FORMS
    )


def find_contacts(text: str) -> Iterator[Found]:
    """E-mail addresses and phone numbers."""
    for match in _EMAIL.finditer(text):
        yield Found(*match.span(), "e-mail address", (match.group(),))
    for match in _PHONE.finditer(text):
        if sum(c.isdigit() for c in match.group()) >= 9:
            yield Found(*match.span(), "phone number", (match.group(),))

"""Secrets in a text: keys and tokens by their shape, passwords by the words around them.

Shapes are the business of detect-secrets. Its plugins look for code, so what is said in a sentence
("the wifi password is ...") is looked for here.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from inspect import isabstract

from plum_langchain.questions.text import NUMBER_WORDS, SMALL_WORDS, listed
from plum_langchain.screening.spans import Found

# --- keys and tokens ---------------------------------------------------------------------------

_MODULES = listed(
    "artifactory aws azure_storage_key basic_auth cloudant discord github_token gitlab_token "
    "ibm_cloud_iam ibm_cos_hmac jwt mailchimp npm openai private_key pypi_token sendgrid slack "
    "softlayer square_oauth stripe telegram_token twilio"
)
"""Of detect_secrets.plugins. Not among them: keyword, which takes "the secret: cold butter" for
one, ip_public, and the entropy of quoted strings, of which only the measure is used."""

_LONG = re.compile(r"\S{15}|BEGIN \S")
"""In every line that a plugin can find something in; few lines of a chat have it."""

_LINE = re.compile(r"[^\n]{1,2000}(?!\S)|[^\n]{1,2000}")
"""Or a part of one, since the time that some shapes take is the square of it."""

_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*-----|\Z)", re.DOTALL
)
_RANDOM = re.compile(r"(?<![\w+/=-])[\w+/=-]{20,}(?![\w+/=-])", re.ASCII)
_PREFIXED = re.compile(r"(?<![\w-])(?:sk|pk|rk|api|key|tok|token|ghp|pat)[-_][\w-]{16,}", re.ASCII)
_REST_OF_KEY = re.compile(r"[\w+/=.-]*[\w+/=-]", re.ASCII)
"""What belongs to a key behind what its shape asks for: a JWT's signature."""

_HEX = re.compile(r"(?:[0-9a-f]{32,}|[0-9A-F]{32,})")
_RANDOM_BITS = 3.5
"""Entropy a character, in bits, from which on a mix of capitals, small letters and digits is taken
for a key: random ones of 20 have about 4, words run together with a year about 3.3."""


@cache
def _shapes() -> tuple["re.Pattern[str]", ...]:
    from importlib import import_module

    from detect_secrets.plugins.base import RegexBasedDetector

    plugins = {
        each
        for name in _MODULES
        for each in vars(import_module(f"detect_secrets.plugins.{name}")).values()
        if isinstance(each, type) and issubclass(each, RegexBasedDetector)
    }
    made = [each() for each in plugins if not isabstract(each)]
    made.sort(key=lambda plugin: plugin.secret_type)
    return tuple(shape for plugin in made for shape in plugin.denylist)


@cache
def _entropy() -> Callable[[str], float]:
    from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString

    measure: Callable[[str], float] = Base64HighEntropyString().calculate_shannon_entropy
    return measure


def find_keys(text: str) -> Iterator[Found]:
    """API keys, access tokens, private keys and passwords in addresses.

    Of the plugins only the shapes are used: they could verify a key as well, where it is for.
    """
    if not _LONG.search(text):
        return
    for block in _BLOCK.finditer(text):
        yield Found(*block.span(), "key", (block.group(),))
    for line in _LINE.finditer(text):
        if not _LONG.search(line.group()):
            continue
        for shape in _shapes():
            for match in shape.finditer(line.group()):
                rest = _REST_OF_KEY.match(line.group(), match.end())
                whole = match.group() + (rest.group() if rest else "")
                values = [whole, match.group(), *(part or "" for part in match.groups())]
                told = tuple(value for value in dict.fromkeys(values) if len(value) > 5)
                start = line.start() + match.start()
                yield Found(start, start + len(whole), "key", told)
        for token in (*_RANDOM.finditer(line.group()), *_PREFIXED.finditer(line.group())):
            if _looks_random(token.group()):
                start, end = (line.start() + place for place in token.span())
                yield Found(start, end, "key", (token.group(),))


def _looks_random(token: str) -> bool:
    if _HEX.fullmatch(token):
        return len(set(token)) > 6
    kinds = (str.isupper, str.islower, str.isdigit)
    mixed = all(any(kind(c) for c in token) for kind in kinds)
    if _PREFIXED.fullmatch(token):
        mixed = any(c.isdigit() for c in token)
    return mixed and _entropy()(token) > _RANDOM_BITS


# --- passwords said in a sentence --------------------------------------------------------------

_NAMED = (  # names nothing but a secret
    r"pass[ -]?words?|pass[ -]?phrases?|pass[ -]?codes?|passwd|pwd|log-?in (?:details|credentials)|"
    r"(?:seed|recovery|backup|mnemonic)[ -]phrase|(?:recovery|backup|unlock)[ -](?:key|code)s?|"
    r"(?:api|wpa2?|wi-?fi|encryption|decryption|secret|private|access|auth)[ _-]?keys?|"
    r"(?:api|access|auth|bearer|secret|refresh|session)[ _-]?tokens?|client[ _-]secret|security "
    r"answer"
)
_NAMED_ELSEWHERE = (  # the same in other languages
    r"passwort|kennwort|contraseña|contrasena|mot de passe|mdp|senha|palavra-passe|wachtwoord|"
    r"lösenord|lösenordet|adgangskode|passord|salasana|hasło|heslo|jelszó|parolă|şifre\w*|"
    r"parola d'ordine|пароль|пароля|пароле|κωδικός πρόσβασης|סיסמה|كلمة (?:المرور|السر)|รหัสผ่าน|"
    r"पासवर्ड"
)
_UNSPACED = r"パスワード|暗証番号|密码|密碼|口令|비밀번호|암호|비번"
_NOT_ONE = r"(?![ -]?(?:manager|reset|polic|protect|generator|hint|field|less|fatigue))"
_NAME = rf"(?<![\w@.])(?:{_NAMED}){_NOT_ONE}(?!\w)"

_SHORT = r"[^.!?\n]{0,60}?"
_IS = (
    r"(?:\s+(?:is|was|are|were|will be|reads|equals)(?!n't)\b|['’]s\b|"
    r"\s*(?:[-=]>|→|:?={1,3}|[:：]))"
)
_IST = (
    r"(?:\s+(?:is|ist|lautet|war|es|era|est|é|è|er|är|var|on|oli|jest|je|este|это|είναι|הוא|هي|है)"
    r"(?!\w)|\s*(?:[-=]>|→|:?={1,3}|[:：—–]|-\s))"
)
_REST = r"\s*(?P<rest>[^\s.!?][^\n]{0,200})"
_MIXED = (
    r"(?P<token>(?=[^\s,;]*\d)(?=[^\s,;]*[^\W\d])[^\s,;]{4,}|[\"'“‘`][^\"'”’`\n]{3,80}[\"'”’`])"
)
_WHOSE = r"(?:my|the|our|your|his|her|their|a|an)"
_OF_IT = rf"{_WHOSE}\s+(?:(?!with|of|for|who|that|and|but|to|in|on)[\w'’-]+\s+){{0,2}}"

_TOLD = (
    re.compile(rf"{_NAME}{_SHORT}{_IS}{_REST}", re.IGNORECASE),
    re.compile(
        rf"\b(?:chang|set|reset|updat|mak|made)\w*\s+{_SHORT}{_NAME}{_SHORT}\s+to(?!\w){_REST}",
        re.IGNORECASE,
    ),
    re.compile(rf"(?<!\w)(?:{_NAMED_ELSEWHERE})(?!\w){_SHORT}{_IST}{_REST}", re.IGNORECASE),
    re.compile(rf"(?:{_UNSPACED})[^\s!-~。]{{0,8}}\s*[:：=]?\s*(?P<rest>[!-~]{{3,80}})"),
    re.compile(
        rf"{_NAME}[^.!?\n]{{0,40}}\?\s*(?:it|that)(?:['’]s|\s+is|\s+was){_REST}", re.IGNORECASE
    ),
)
_BESIDE = (
    re.compile(rf"{_NAME}\s+(?:of\s+|as\s+)?{_MIXED}", re.IGNORECASE),
    re.compile(rf"(?<!\w)(?:{_NAMED_ELSEWHERE})(?!\w)\s+(?:\w+\s+){{0,2}}{_MIXED}", re.IGNORECASE),
    re.compile(
        rf"(?<!\S)(?P<token>[^\s,;.!?]\S{{0,80}}?)[,;.!–—-]{{0,3}}\s+(?:(?:that|this|it)(?:['’]s|\s+is|\s+was)|is|was|"
        rf"as|for)\s+{_OF_IT}{_NAME}",
        re.IGNORECASE,
    ),
)
_NO_VALUE = re.compile(  # what is said of a password that isn't told
    r"(?:(?:a|an|too|so|very|not|still|always|never|now|really|pretty|quite|that|no|again|already|"
    r"about|also)\s+)*(?:(?:wrong|incorrect|right|correct|expired|long|short|weak|strong|safe|unsafe|"
    r"secure|insecure|easy|hard|difficult|old|outdated|new|lost|gone|forgotten|missing|required|"
    r"needed|due|changed|reset|kept|hidden|invalid|different|unknown|secret|private|important|"
    r"working|annoying|terrible|bad|good|fine|mess|problem)(?=\s*(?:$|[,;)]|(?:and|but|or|for|to|"
    r"with|again|now|by|in|on|at|so|since|because|when|if|enough|anyway)\b))|(?:written|stored|saved|"
    r"taped|in|on|at|under|inside|from|with|causing|something|nothing|everywhere|nowhere|what|which|"
    r"where|why|how|when|if|whether)(?!\w))",
    re.IGNORECASE,
)
_NO_TOKEN = SMALL_WORDS | frozenset(
    listed(
        "what what's whats where who whose everything nothing something anything he she it's its "
        "that's here here's remember know forgot forget is was are isn't wasn't my the new need "
        "needed asked looking look wait searching search"
    )
)

_OF_DIGITS = (
    r"(?:security|verification|one-?time|2fa|door|gate|alarm|entry|access|lock|locker|safe|vault|"
    r"unlock|unlocking|keypad|garage|building|lockbox|sim|card)[ -]"
    r"(?:pin|code|combination|combo)s?|pin[ -]?(?:code|number)s?|cvv2?|cvc2?|otp"
)
_CODE_FOR = (
    r"(?:code|combination)\s+(?:for|of|to|on)\s+[^.!?\n\d]{0,30}?\b(?:door|gate|alarm|lock|safe|"
    r"vault|garage|building|keypad|phone|card|house)\b"
)
_NUMERAL = "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
_DIGITS = (
    r"(?P<token>[\w#*]{0,12}\d[\w#*-]{2,12}|"
    rf"(?:(?:{_NUMERAL})[\s,-]+){{2,12}}(?:{_NUMERAL}))(?!\w)"
)
_CODES = (
    re.compile(rf"(?<!\w)(?:{_OF_DIGITS}|{_CODE_FOR})(?!\w)[^.!?\n\d]{{0,40}}?\b{_DIGITS}", re.I),
    re.compile(rf"(?<!\w)pin(?!\w)[^.!?\n\d]{{0,40}}?{_IS}\s*{_DIGITS}", re.IGNORECASE),
    re.compile(r"(?<!\w)PIN\s+(?P<token>\d{4,8})(?!\w)"),
    re.compile(rf"(?<!\w){_DIGITS}\s+(?:is|as)\s+{_OF_IT}(?:pin|{_OF_DIGITS})(?!\w)", re.I),
)
_ASKED_FOR = re.compile(
    rf"(?:\b(?:what|which|tell|give|send|share|remind|enter|remember|know|have|need)\b[^.!\n?]{{0,60}}?"
    rf"(?:{_NAME}|(?<!\w)(?:pin|{_OF_DIGITS}|{_CODE_FOR})(?!\w))|"
    rf"(?<!\w)(?:{_NAMED_ELSEWHERE})(?!\w)|{_UNSPACED})[^.!\n?？]{{0,60}}[?？]",
    re.IGNORECASE,
)
_LONGEST_REPLY = 6  # words of a reply that is nothing but the password
_NO_REPLY = re.compile(
    r"(?:yes|no|yep|nope|sure|not|never|i|we|never mind|in|on|the|my|ok|okay)\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?…](?=\s|$)|[。！？]")
_SYMBOL = re.compile(r"[^\W\d_]\W*\d|\d\W*[^\W\d_]|[@#$%^&*_+=~|<>\\/]")


def find_passwords(text: str, asked: str = "") -> Iterator[Found]:
    """Passwords, passphrases, PINs and codes of locks, where the words around them say so.

    Args:
        text: What was said.
        asked: What it replies to: a bare "hunter2" is a password after "What's the password?".
    """
    for pattern in _TOLD:
        for match in pattern.finditer(text):
            start = match.start("rest")
            end = _SENTENCE_END.search(text, start, match.end())
            told = text[start : end.start() if end else match.end()]
            assigned = text[:start].rstrip().endswith((":", "=", "：", ">", "→"))
            if assigned or not _NO_VALUE.match(told):
                yield Found(match.start(), start + len(told), "password", _values(told))
    for pattern in (*_BESIDE, *_CODES):
        for match in pattern.finditer(text):
            value = match["token"].strip("\"'“”‘’`.,;:!?()")
            if len(value) > 2 and value.casefold() not in _NO_TOKEN:
                yield Found(*match.span(), "password", (value,))
    if _ASKED_FOR.search(asked[-300:]):
        reply = text.strip()
        first = _SENTENCE_END.search(reply)
        reply = reply[: first.start()] if first else reply
        if reply and len(reply.split()) <= _LONGEST_REPLY and not _NO_REPLY.match(reply):
            reply = re.sub(
                r"^(?:it|that|they)(?:['’]s|['’]re|\s+is|\s+are)\s+", "", reply, flags=re.I
            )
            start = text.find(reply)
            yield Found(start, start + len(reply), "password", _values(reply))


def _values(told: str) -> tuple[str, ...]:
    """What of the words behind "the password is" is the password, as far as can be said.

    What is quoted, else each word with digits or symbols, else the words up to a pause.
    """
    quoted = re.findall(r"(?<!\w)[\"“‘'`]([^\"”’'`\n]{3,80})[\"”’'`](?!\w)", told)
    all_words = [word.strip("\"'“”‘’`,;:!?()[]") for word in told.split()]
    mixed = [word for word in all_words if len(word) > 2 and _SYMBOL.search(word)]
    run: list[str] = []
    for word, bare in zip(told.split(), all_words, strict=True):
        if bare.casefold() in SMALL_WORDS:
            break
        run.append(bare)
        if word[-1] in ",;":
            break
    telling = [" ".join(run), *(run[:1] if len(run) == 2 else ())]
    found = quoted or mixed or telling
    return tuple(value for value in dict.fromkeys(found) if len(value.strip()) > 2)

"""Word lists of English: verbs, values that can stand for one another, names and places.

Data only. `english.py` rewrites sentences with the verbs, `negatives.py` swaps the values.
"""

from plum_langchain.questions.text import listed

# --- verbs -------------------------------------------------------------------------------------

IRREGULAR: dict[str, tuple[str, str]] = {
    line.split()[0]: (line.split()[1], line.split()[-1])
    for line in """
    beat beat beaten|become became become|begin began begun|bet bet|bite bit bitten
    blow blew blown|break broke broken|bring brought|build built|burn burnt|buy bought
    catch caught|choose chose chosen|come came come|cost cost|cut cut|dig dug|do did done
    draw drew drawn|drink drank drunk|drive drove driven|eat ate eaten|fall fell fallen|feed fed
    feel felt|fight fought|find found|fly flew flown|forget forgot forgotten|freeze froze frozen
    get got gotten|give gave given|go went gone|grow grew grown|hang hung|have had|hear heard
    hide hid hidden|hit hit|hold held|hurt hurt|keep kept|know knew known|lay laid|lead led
    learn learnt|leave left|lend lent|let let|lose lost|make made|mean meant|meet met|pay paid
    put put|read read|ride rode ridden|ring rang rung|rise rose risen|run ran run|say said
    see saw seen|sell sold|send sent|set set|sew sewed sewn|shake shook shaken|shut shut
    sing sang sung|sit sat|sleep slept|speak spoke spoken|spend spent|split split|spread spread
    stand stood|steal stole stolen|stick stuck|swim swam swum|take took taken|teach taught
    tell told|think thought|throw threw thrown|understand understood|wake woke woken
    wear wore worn|win won|write wrote written
    """.replace("\n", "|").split("|")
    if line.strip()
}
"""Base form to past and participle."""

REGULAR = frozenset(
    listed(
        "rebook redesign draft email varnish sand deduct accept accuse add adjust adopt advise "
        "agree aim allow answer apply arrange arrive ask attach attend avoid bake balance bark "
        "bleed boil book bore borrow braise brush bump call cancel carry celebrate change charge "
        "check cheer chop claim clean climb close collect compare complain confirm confuse "
        "connect consider consult contact continue convert cook copy correct cough count cover "
        "crack create cycle dance decide delay deliver describe dial disagree discuss divide "
        "donate double double-book drain drip drop drown dry dump earn email employ empty end "
        "enjoy enter escape examine exchange exercise expect explain explode export extend fail "
        "faint fear file fill finish fit fix flag fold follow format fry gather glue grate greet "
        "grill growl guess guide halve hammer hand happen hate head heat help hire hope host howl "
        "hum hunt hurry ignore import improve include inform injure insist inspect install "
        "insulate introduce invite iron jog join joke juggle jump kick kneel knit knock label "
        "land last laugh leak lift like limit list listen live lock look love lower mail maintain "
        "manage mark marry measure mend mention merge mind miss mix mock monitor move mow "
        "multiply nap need nod note notice number offer open order organise organize overfeed "
        "oversleep owe own pack paint park pass peel pet phone photograph pick pinch place plan "
        "plant play poke polish post pour practice practise prefer prepare press print produce "
        "promise proof propose protect prove pull punish push question quote race raise ramble "
        "rattle reach realise receive recommend record recover recycle reduce refuse register "
        "regret reject relax rely remark remember remind remove renew rent repair repeat replace "
        "reply report request rescue reserve respect rest retire return reuse review reward rinse "
        "roar roast rotate rub rush sail save scare schedule scold scrape scratch sculpt search "
        "seem separate serve settle share shave ship shiver shop shorten shout show sigh sign "
        "simmer skate sketch skip slice slip smell smile smoke snore sob sort sound spell spill "
        "spray squeeze stare start stay step stir stitch stop store stretch strip struggle study "
        "submit suffer suggest sulk supply support surprise swallow swap sweat switch tap taste "
        "tease test text thank tie time tip tire top toss track trade train translate travel "
        "treat trim trust try tumble turn twist type update use value vanish visit vote wait walk "
        "wander want warm warn wash waste watch water weigh weld whisk whisper whistle wipe wish "
        "wonder work worry wrap yawn yell"
    )
)
BASE_VERBS = REGULAR | frozenset(IRREGULAR) | {"be"}


def third_person(base: str) -> str:
    """From "own" to "owns"."""
    if base in ("have", "be"):
        return {"have": "has", "be": "is"}[base]
    if base.endswith(("s", "x", "ch", "sh", "o")):
        return base + "es"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


_DOUBLED = frozenset(
    listed(
        "bet cut dig drop fit flag get hit jog knit let plan prefer put quit regret run set ship "
        "shop shut sit skip split step stir stop submit swap swim trim tip top win wrap"
    )
)


def _with_ending(base: str, ending: str) -> str:
    if base.endswith("e"):
        return base[:-1] + ending if ending == "ing" else base + "d"
    if ending == "ed" and base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return (base + base[-1] if base in _DOUBLED else base) + ending


UNCHANGED = frozenset(base for base, (past, _) in IRREGULAR.items() if past == base)
"""Verbs whose past is like their base form: cut, put, read."""
PAST: dict[str, str] = {past: base for base, (past, _) in IRREGULAR.items() if past != base}
PAST.update({_with_ending(base, "ed"): base for base in REGULAR | {"burn", "learn"}})
THIRD: dict[str, str] = {third_person(base): base for base in BASE_VERBS if base != "be"}
ING: dict[str, str] = {_with_ending(base, "ing"): base for base in BASE_VERBS}
PARTICIPLES = (
    frozenset(part for _, part in IRREGULAR.values())
    | frozenset(_with_ending(base, "ed") for base in REGULAR | {"burn", "learn"})
    | {"been", "got", "signed"}
)
BE = frozenset(["am", "is", "are", "was", "were"])
MODALS = frozenset(["can", "could", "will", "would", "should", "must", "may", "might"])
AUXILIARIES = BE | MODALS | {"has", "have", "had", "do", "does", "did"}
VERB_FORMS = (
    BASE_VERBS | frozenset(PAST) | frozenset(THIRD) | frozenset(ING) | PARTICIPLES | AUXILIARIES
)

# --- values that can stand for one another -----------------------------------------------------

_DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = listed(
    "January February March April May June July August September October November December"
)
LANGUAGES = listed(
    "English Spanish French German Italian Portuguese Swedish Finnish Danish Norwegian Dutch "
    "Polish Russian Turkish Arabic Japanese Chinese Korean Greek Hungarian Czech Hindi Yoruba "
    "Igbo Irish"
)

VALUE_LISTS: tuple[tuple[str, ...], ...] = (
    tuple(_DAYS),
    tuple(day + "s" for day in _DAYS),
    tuple(MONTHS),
    tuple(LANGUAGES),
    ("Christmas", "Easter", "Midsummer", "Halloween", "New Year", "Carnival"),
    ("red", "blue", "green", "yellow", "black", "white", "brown", "grey", "purple", "pink"),
    tuple(
        listed(
            "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
            "sixteen eighteen twenty thirty forty fifty sixty"
        )
    ),
    ("morning", "afternoon", "evening"),
    ("mornings", "afternoons", "evenings"),
    ("spring", "summer", "autumn", "winter"),
    ("mother", "father", "sister", "brother", "aunt", "uncle", "grandmother", "grandfather"),
    ("mum", "dad", "aunt", "uncle", "grandma", "grandpa"),
    ("wife", "sister", "aunt", "mother-in-law"),
    ("husband", "brother-in-law", "grandson", "nephew"),
    ("girlfriend", "boyfriend", "flatmate", "cousin"),
    ("son", "daughter", "nephew", "niece"),
    ("teacher", "dentist", "lawyer", "plumber", "electrician", "journalist", "librarian"),
    ("nurse", "baker", "surveyor", "gardener", "carpenter", "accountant", "tailor", "barber"),
    ("beagle", "poodle", "dachshund", "collie", "greyhound", "terrier", "spaniel"),
    ("dog", "cat", "parrot", "rabbit", "hamster", "tortoise"),
    ("chicken", "beef", "pork", "lamb", "turkey", "duck"),
    ("salmon", "tuna", "cod", "trout", "mackerel"),
    ("mushrooms", "onions", "tomatoes", "aubergines", "peppers", "carrots", "leeks"),
    ("almond", "walnut", "hazelnut", "pistachio", "coconut"),
    ("lemon", "cherry", "apricot", "raspberry", "pear", "plum"),
    ("rice", "pasta", "couscous", "potatoes", "lentils"),
    ("sesame", "gluten", "peanuts", "shellfish", "mustard"),
    ("coffee", "tea", "cocoa", "lemonade"),
    ("wooden", "steel", "plastic", "aluminium", "glass"),
    ("pine", "oak", "larch", "birch", "walnut", "ash"),
    ("left", "right"),
    ("upper", "lower"),
    ("upstairs", "downstairs"),
    ("kitchen", "bathroom", "bedroom", "cellar", "attic", "hallway"),
    ("train", "bus", "ferry", "plane", "taxi"),
    ("bike", "scooter", "motorbike", "tram"),
    ("weekly", "daily", "monthly", "yearly"),
    ("euro", "dollar", "pound", "franc"),
    ("euros", "dollars", "pounds", "francs"),
    ("swimming", "cycling", "rowing", "climbing", "fencing", "skiing"),
    ("football", "tennis", "basketball", "volleyball", "rugby", "handball"),
    ("knee", "elbow", "shoulder", "ankle", "wrist", "hip"),
    ("guitar", "piano", "violin", "flute", "drums"),
    ("bakery", "bookshop", "pharmacy", "florist's", "laundry"),
    ("second-hand", "brand-new"),
)

# --- names and places --------------------------------------------------------------------------

WOMEN = listed(
    "Adele Carla Elena Greta Ines Katya Maja Noor Paula Rosa Tamara Vera Yara Zoe Amara Bettina "
    "Dorothea Farida Ilse Jasmin Lucia Mirela Nadia Olga Petra Renata Silvia Theresa"
)
MEN = listed(
    "Bruno Dimitri Farid Hugo Jonas Liam Oskar Quentin Stefan Umar Wendel Anton Basil Casper Emre "
    "Gustav Ivan Jerome Kofi Lorenzo Matteo Nikolai Pascal Rashid Sergio Tobias Viktor Yusuf"
)
PLACES = listed(
    "Aarhus Bilbao Cardiff Dresden Ghent Haifa Izmir Kyoto Malaga Nairobi Oslo Parma Quito Riga "
    "Sofia Tunis Utrecht Vilnius Zagreb Bergen Cork Dijon Graz Lima Montreal Naples Perth Seville "
    "Turin Valencia"
)

TITLES = frozenset(
    listed(
        "dr mr mrs ms miss sr sra dona don professor prof uncle aunt auntie grandma grandpa nurse "
        "captain sister brother father coach chef"
    )
)
FEMALE_CUES = frozenset(
    listed(
        "she her hers she's she'll wife sister mother mum mom mam mama aunt auntie grandmother "
        "grandma daughter girlfriend niece landlady girl lady woman widow mrs ms miss dona sra"
    )
)
MALE_CUES = frozenset(
    listed(
        "he him his he's he'll husband brother father dad papa uncle grandfather grandpa son "
        "boyfriend nephew landlord boy guy man widower mr sr don"
    )
)
PERSON_CUES = (FEMALE_CUES | MALE_CUES | TITLES) - frozenset(listed("she her he him his")) | {
    *listed(
        "friend cousin neighbour neighbor boss teacher apprentice colleague partner vet doctor "
        "tutor called named name kids children twins godson goddaughter student childminder chair "
        "coach physiotherapist classmate roommate flatmate manager client"
    )
}

"""Words: those that open a request in English, and those by which English is known."""

from __future__ import annotations

# Words that open a request, in English. `check`, `use`, `test`, `see`, `return` open far more notes than requests;
# some of them count with the word that follows.
VERBS = frozenset(
    """
    abort accept access accumulate add adjust aggregate align allocate annotate append apply arrange assign
    attach average batch binarize bind blend build cache calculate call capitalize capture cast categorize
    center change choose chunk classify clean clear click clip clone close coalesce collapse collect color
    colour combine compare compile compose compress compute concat concatenate configure confirm connect
    construct convert copy count crawl create crop customize cut cycle debounce declare decode decompress
    decorate decrease decrypt deduplicate deep-copy define delete derive deserialize design detect determine
    develop diff disable display divide double download draw drop dump duplicate edit emit empty enclose
    encode encrypt enumerate erase escape estimate evaluate exclude execute expand export express extend
    extract factor factorize fetch fill filter find fit flatten flip fold form format gather generate get
    give grab group guess hash hide highlight identify implement import increase increment index infer
    initialise initialize insert integrate interleave interpolate intersect invert invoke iterate join judge
    kill label launch left-pad limit linearize list load locate log lookup loop lower lower-case lowercase
    make map mask match maximize measure memoize merge mimic minimize mirror mix model modify monitor move
    multiply navigate negate normalise normalize obtain open order output overwrite pack pad paginate pair
    parse partition pass paste pause perform permute pick pickle pivot play plot poll pop populate post
    predict prefix prepend preprocess pretty-print print produce program prompt prune push put query quit
    randomize rank read rearrange receive record redirect reduce refactor remove rename render reorder
    repeat replace report request resample reset reshape resize resolve restart retrieve retry reverse
    rewrite rotate round round-trip sample sanitize save scale scan schedule scrape scroll search select
    send separate serialise serialize serve set shift show shuffle shutdown simulate sleep slice slugify
    smooth solve sort spawn specify split square squash stack start stop store stream strip subscribe subset
    substitute subtract suffix sum summarize swap switch tabulate take terminate throttle throw toggle
    tokenize train transform translate transliterate transpose traverse trigger trim truncate uncompress
    underline unescape union unpack unpivot unquote unzip update upload upper-case uppercase url-encode
    urlencode validate vectorize verify visualize walk watch wrap write yield zero-pad zip
    """.split()  # noqa: SIM905
)
# The most frequent words of comments in Python files: enough to know English by, and with it what is not.
ENGLISH = frozenset(
    """
    able about above absolute abstract account acquire across action active actual adapter addition
    additional address addresses affect after again against agreement algorithm alias aliases align
    alignment alive all allocation allow almost alone along already alternate alternative although always
    ambiguous analysis and annotation another any anymore anyway apis appear applicable application applies
    appropriate arbitrary archive are arguments arithmetic around assert assertion assignment assume async
    at attempt attention attribute author available avoid aware away axis backend backward bad bare barrier
    bases basic basis be because become been before behavior behaviour below best better between beyond bias
    big binary bits blank blob blocks bogus bool bottom bound boundary box boxes branch branches break
    broken bucket buffers bugs built builtins bunch but by bypass bytes callable caller can cancel candidate
    cannot canonical care careful carry case causal cause cell certain chain channel character checker
    checkpoint child children choice circular classes classmethod clause cleanup closure codes coerce col
    collection columns combination comes comma command comment common comparison compatible compilation
    compiler complete completion complex compliance component computation concrete condition conditional
    connection consider consistency consistent constant construction consume contain content context
    contiguous continuation continue control convenience conversion cookies copies core corner correct cost
    could counter coverage crashes creation cross current custom dataset date day dead deal debug decide
    declaration decoder decorator default defer definition degree delay delta denominator dense depend
    dependencies dependency dependent deprecation description descriptor destination detail detection device
    dictionary dicts did differ difference different digit dimensional dimensions directories directory
    disable discard discussion disk distinct distribution division do doc doctest document does domain don
    done dot drive due dummy dynamic each eager earlier easier easy edge effect effective efficient either
    elements else elsewhere empty enable encoder end engine enough ensure enter entire entries entry environ
    environment epoch equal equality equation equivalent era eval even event ever every exact example except
    exception exclusive exec executable execution exercise exist exit expansion expect expensive explicit
    exponent expression extension external fact factory fail failure fall false far faster feature few field
    figure filename files filesystem finalize fine finite first fix flag flat floats floor flow folder
    follow for force fork forward found foundation fraction frames free frequencies from front frozen full
    functional functions further fusion future garbage generation generators generic given globals go goes
    gone good got gradient graphs greater grid guarantee guard had half hand handle handler hang happen hard
    has hashable hat have haven head headers held help helper hence here heuristic hex hidden high higher
    hint hit hold home hook hostname hour how however https identical identifier identity idle if ignore
    images immutable implicit important include incompatible incomplete incorrect indent indentation
    independent indexer indexes indicate indices individual inference infinite infinity inherit initial
    inline inner inputs inside inspect install installation instances instead instruction integers interface
    intermediate internal interpreter intersection into invalid invariant inverse is issue it item iterable
    iteration iterators itself jump just keep kept kernels keys keyword kill kind language large larger last
    later latter law layer lazy lead leaf leak least leave left legacy less let letter level libraries
    license like linear lines links literal little live loader locale locals location logger logic longer
    look loss lost lot low machine machinery made magic major many mark marker master matches matrices
    matrix matter max may maybe mean mechanism member memory messages meta method min minus modes modular
    modules monotonic more most much multiple must mutable mutation naive names narrow nat native necessary
    negative neither network never new newer newline next nice nodes non none nor norm not notice now number
    objects occur odd of off offset ok okay old older one onto op operand operation operator optimization
    optimize optimizer optional options or origin other otherwise our out outer outside over overflow
    overhead overlap overload overridden override overwritten package parallel parameters parent parentheses
    particular parts passes password past patches pathname pattern payload performance perhaps period
    permission persistent pipe place placeholder platform please plugin pointer points pointwise policy
    position positional positive possible potential power precedence precision prefer prefixes prepare
    present preserve pretty prevent previous prior priority problem process processes project projection
    propagate proper properties property protocol provide pull pure purpose quantization queries queue quite
    quote race raise ranges rather rational raw reach reaches readable reader ready reason recurse recursion
    recursive reduction redundant refer reference regardless regenerate region register registry regression
    reject relative release relevant relies remain remember remote replacement represent require res
    residual resolution resource respect response rest restore results resume retain returns reuse roundtrip
    row rule run safe same sanity say scalar scatter schema scheme scope scripts sea second security see
    seek seem segment selection self semantic sense sent sentinel separator sequences series setter setup
    several side sign signal signature simplify since single singleton site size skip slashes slots slow
    small smaller snapshot socket solution some someone sometimes soon source space sparse special specific
    specifier spurious stable stage stat state statement static stay step still storage strategy strict
    stride struct structure stub stuff sub subclass subclasses subject subsequent subtype success successful
    such suite superclass support suppress sure symbolic symbols sync syntax systems tab table tags tail
    taken tan target task tell temp temporary tensor term terminal tile time timeout timestamp timezone tls
    to todo together tokens too top tour trace tracker trainer transformer transition treat tree tricky
    tries trip trivial true try turn twice two types unbound under unique universal unless unlike
    unnecessary unsafe unset until up upon upper uri usage use useful users usual utility valid validation
    value variables variance variant various vectors verbose versions very view visible vision vs wait wake
    want warn warranties was way we weird well were widget win window within without word work workaround
    worker would year yes yet you zero
    """.split()  # noqa: SIM905
)
# Words that other languages have, too, or have taken over: they say nothing.
SHARED = frozenset(
    """
    abc admin agent al alpha also am an api app argument array art as ascii audio auto bald bar base baz
    beta bin bit block blog body boolean bot buffer bug byte bzip cache canvas captcha cent chat class
    client cloud cluster code codec column com come commit computer config constructor container cookie
    corps cosa cpu csv cursor da dan data de decimal demo dialog dict die digital dimension direct docker
    dos editor element email en enum error errors et expert extra factor fait fake fan fast fatal file film
    filter fin final float font foo form format frame function general generator global gpu graph group gut
    gzip hash header host html http hun id idea image import in index info information input instance int
    integer integral internet interval io iterator java job json kernel key la label lambda latin layout le
    lens library limit line link linux list local log login long main man manager manual maximum me menu
    mere message met metadata minimum minor mod modal mode model module moment mono multi music name natural
    nd ne net no no-op node normal note nul null numeric object on once online opera option orbit order
    original os output pain para parameter parse parser part partial party pass patch pause per phase photo
    pipeline plain plan plus point pool popular port pos posix post principal print private product program
    prompt proxy public python query radio radius random range ratio rd re real red regex regular request
    reset result return role root router sans script section sensor sequence server session set similar
    simple singular slot so social software solo son sort spam sport st stack standard start status stop
    string style super symbol synonym sys system tag team temperature template temporal test tests text th
    ticket tier timer token total transfer transport tuple tutorial type unicode uniform union unit unix url
    user utf util variable vector version vi via video virtual visual war web will windows xml yaml zip zone
    """.split()  # noqa: SIM905
)

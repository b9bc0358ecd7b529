"""Words: those that open a request in English, and those by which English is known."""

from __future__ import annotations

# Words that open a request, in English. `check`, `use`, `test`, `see`, `return` open far more notes than requests;
# some of them count with the word that follows.
VERBS = frozenset(
    """accept access accumulate add adjust aggregate allocate annotate append apply arrange assign attach
    average batch binarize bind blend build cache calculate call capitalize capture cast categorize
    center change choose chunk classify clean clear click clip clone close collapse collect color colour
    combine compare compile compose compress compute concat concatenate configure connect construct
    convert copy count crawl create crop cut cycle debounce decode decompress decorate decrease decrypt
    deduplicate deep-copy define delete deserialize design detect determine develop diff display divide
    double download draw drop dump duplicate edit emit encode encrypt enumerate erase escape estimate
    evaluate exclude execute expand export express extend extract factor factorize fetch fill filter
    find fit flatten flip fold form format gather generate get give grab group guess hash hide highlight
    identify implement import increase increment index infer initialise initialize insert integrate
    interleave interpolate intersect invert invoke iterate join judge label launch left-pad limit
    linearize list load locate log lookup loop lower lower-case lowercase make map mask match maximize
    measure memoize merge mimic minimize mirror mix model modify monitor move multiply navigate negate
    normalise normalize obtain open order output overwrite pack pad paginate pair parse partition pass
    paste pause perform permute pick pickle pivot play plot poll pop populate post predict prefix
    prepend preprocess pretty-print print produce program prompt prune push put query quit randomize
    rank read rearrange receive record reduce refactor remove rename render reorder repeat replace
    report request resample reset reshape resize resolve restart retrieve retry reverse rewrite rotate
    round round-trip sample sanitize save scale scan schedule scrape search select send separate
    serialize set shift show shuffle shutdown simulate slice slugify smooth solve sort specify split
    square squash stack start stop store stream strip subscribe subset substitute subtract suffix sum
    summarize swap switch tabulate take terminate throttle toggle tokenize train transform translate
    transliterate transpose traverse trigger trim truncate uncompress underline union unpack unpivot
    unzip update upload upper-case uppercase url-encode validate vectorize verify visualize walk watch
    wrap write yield zero-pad zip""".split()  # noqa: SIM905
)
# The most frequent words of comments in Python files: enough to know English by, and with it what is not.
ENGLISH = frozenset(
    """
    able about above abs absolute abstract account acquire across action active actual added adding
    additional address addresses adds affect after again against agreement algorithm alias aliases alive all
    allow almost alone already alter alternate alternative although always amount ancillary and annotation
    another any anymore anyway apis appear application appropriate arbitrary archive are arguments around
    assert assertion assignment assume async attempt attribute author available avoid await away back
    backslash backward bad bare barrier based bases basic be because become been before behavior behaviour
    being below best better between beyond big binary bits blank blocks blow bogus bool bootstrap both bound
    boundary break broken browser buffers bugs built but button by bypass bytes callable callback caller can
    cancel cannot care case catch caught cause central certain chain channel character check checker child
    children classes classmethod cleanup clock co codes coding collection colon comes command comment common
    communicate comparison compatible compiler complete completion complex compliant component compression
    concrete condition connection consider consistent constant consume contact contain content context
    contiguous continuation continue control convenience conversion cookies copies core corner correct could
    counter coverage cp crash crashes crc creation cross current custom database date day days dead deadlock
    deal debug debugger decimals decoder decorator default defect definition delay delta depend dependent
    depth description descriptor destination destroy detail dictionary dicts did difference different digit
    directories directory disable discard disk dispatch distribution ditto do doc docs doctest document does
    doing domain don done dot down drive due dummy during each earlier early easier easy effect either
    elements else empty enable end ending ends enough ensure entire entries entry environ environment equal
    equality equivalent eval even event ever every exact example except exception exec executable execution
    executor exercise exist existent exit expect expires explicit exponent expression extension external
    fact factory fail failure fall fallback false far faster fault feature few field figure filename files
    filesystem filters finalize fine finish first fix fixed flag floats flush follow force forever forget
    fork formats forward found foundation fraction frames free fresh from frozen full fully func functions
    future garbage generation generators generic gets github given globals go goes going good got grammar
    greater groups guarantee gui hack had half handle handler handshake hang happen hard has have haven
    having head headers held help helper hence here hex high hold home hook hostname hour how however https
    identical identifier identity idle if ignore illegal immutable implicit important imports inc include
    incomplete incorrect indent indentation independent indicate indices infinite infinity inherit initial
    inline inner inputs inside inspect install installation instances instead integers interface internal
    interpreter into invalid issue it item iterable iteration iterators its itself jump just keep kept keys
    keyword kill kind know known language large larger last late later latter leak least leave left legacy
    legal length less let letter level libraries license like lines linker links lists literal little loader
    locale locals location lock logger logic longer look lost lot low mac machine machinery made magic
    making manifest many maps mark marker matches math matter max may maybe mean mechanism median member
    memory messages method middle might min minus mixed mock modification modifier modules month more most
    moved much multiple must mutable named names native necessary need negative neither network never new
    newer newline next nice nodes non none notice notify now number objects occur odd off offset ok okay old
    older one ones only op operation operator optimization optional options other otherwise our out outer
    outside overflow overridden override own package page parameters parent parentheses particular parts
    passes password path pathname pattern payload performance perhaps permission pipe place platform pointer
    points policy position positional positive possible potential power precedence precision prefer prefixes
    present preserve prevent previous prior problem process processes profile propagate proper properties
    property protocol provide pure purpose queue quite quote race raise ranges rather raw readable reader
    ready reason reasonable recursion recursive redundant ref refcount reference regardless register
    registry regression reject relative release relies rely remain remember remote replacement represent
    requests require res resolution resource response rest restore results returns right roundtrip row rule
    run runs safe same sanity saved say says scheme scope scripts second security see seed seek selection
    self semantics semaphore sense sent separator sequences servers sets setup several shape share shell
    short should side sign signal signature since single site size skip slash slashes sleep slots slow small
    smaller socket some someone sometimes soon source space spawn special specific specifier spurious starts
    startup stat state statement static step still strict strings strong struct structure stuff sub subclass
    subclasses subject subsequent success successful such suite superclass support suppress sure surrogate
    symbolic syntax systems tab table tabs tags tail taken tar target task tcp teardown tell temp temporary
    terminal testsuite than that the their them theme then there therefore these they thing think third this
    those though thread three through throw thus time timeout timestamp timezone tls to todo together tokens
    too top trace traceback track transition treat tree trick tries trivial true try trying turn twice two
    types typing unavailable undo unique universal unknown unless until up upon upper usage use used useful
    users uses using utility valid value var variables various verbose versions very view vs wait wake want
    warn way ways we week well were what whatever when whenever where whether which while whitespace whole
    whose why widget width win window with within without word work workaround worker worth would wrapper
    writable written wrong year yes yet you zero
    """.split()  # noqa: SIM905
)
# Words that other languages have, too, or have taken over: they say nothing.
SHARED = frozenset(
    """
    abc admin agent al alpha also am an api app argument array art as ascii at audio auto bald bar base baz
    beta bin bit block blog body boolean bot buffer bug byte bzip cache canvas captcha cent chat class
    client cloud cluster code codec coin column com come commit computer config constructor container cookie
    corps cpu csv cursor da dan data de decimal demo dialog dict die digital dimension direct docker dos
    editor element email en enum era error errors et expert extra factor fake fan fast fatal file film
    filter fin final float font foo for form format frame function general generator global gpu graph group
    gut gzip hash hat header her hit host html http hut id idea image import in index info information input
    instance int integer integral internet interval io is iterator java job json kernel key la label lambda
    latin layout le lens library limit line link linux list local log login long main man manager manual
    maximum me men menu mere message met metadata minimum minor mod modal mode model module moment mono
    multi music name natural nd net no no-op node normal not note nul null numeric object of on once online
    opera option or orbit order original os output over pain para parameter parse parser part partial party
    pass patch pause per phase photo pipeline plain plan plus point pool popular port pos posix post
    principal print private product program prompt proxy public python query radio radius random rang range
    rat ratio rd re real red regex regular request reset result return role root router sale sans script sea
    section sensor sequence server session set si similar simple singular slot so social software solo son
    sort spam sport st stack standard start status stop string style super symbol synonym sys system tag tan
    team temperature template temporal test tests text th ticket tier til timer token ton total tour
    transfer transport tuple tutorial type under unicode uniform union unit unix url user utf util van
    variable vector version vi via video virtual visual vocal war was web will windows xml yaml zip zone
    """.split()  # noqa: SIM905
)

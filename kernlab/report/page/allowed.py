"""The elements and attributes that an output may have in the page; in lower case, as the parser gives them."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HTML = _words(
    """
    a abbr b bdi blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption
    figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary
    sup table tbody td tfoot th thead time tr u ul var wbr
    """
)
SVG = _words(
    """
    circle clippath defs desc ellipse g image line lineargradient marker mask path pattern polygon
    polyline radialgradient rect stop svg symbol text textpath title tspan use
    """
)
#: These go with all that is in them; of any other element that is not allowed, what is in it stays.
GONE = _words(
    """
    script style template noscript iframe object embed applet link meta base head title input button
    select textarea option datalist audio video source track canvas map area frame frameset noframes
    noembed xmp plaintext listing foreignobject animate animatemotion animatetransform set mpath portal
    dialog slot filter param math
    """
)
#: Parts of a page, of which an output is none.
BLOCKS = _words(
    """
    address article aside center footer form header main nav section fieldset legend
    """
)

EVERYWHERE = _words(
    """
    class id title lang dir role aria-label aria-labelledby aria-describedby aria-hidden
    """
)
OWN = {
    "a": {"href", "rel"},
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "ol": {"start", "reversed"},
    "li": {"value"},
    "col": {"span"},
    "colgroup": {"span"},
    "details": {"open"},
    "time": {"datetime"},
}
SVG_OWN = _words(
    """
    viewbox width height x y x1 y1 x2 y2 cx cy r rx ry fx fy d dx dy points transform rotate offset fill
    stroke opacity fill-opacity fill-rule clip-path clip-rule mask marker-start marker-mid marker-end
    markerwidth markerheight markerunits orient refx refy stroke-width stroke-linecap stroke-linejoin
    stroke-dasharray stroke-dashoffset stroke-miterlimit stroke-opacity stop-color stop-opacity
    gradientunits gradienttransform spreadmethod patternunits patterncontentunits patterntransform
    clippathunits maskunits preserveaspectratio text-anchor dominant-baseline alignment-baseline
    font-size font-weight font-style font-family textlength lengthadjust href
    """
)

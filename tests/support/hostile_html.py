"""HTML that means harm, as hypothesis makes it of pieces and as people wrote it down."""

from __future__ import annotations

from hypothesis import strategies as st

from kernlab.report.page.allowed import GONE, HTML, SVG

#: What has got through filters before: a parser that repairs, raw text, foreign content, odd quoting.
KNOWN = (
    "<script>harm()</script>",
    "<scr<script>ipt>harm()</scr</script>ipt>",
    "<img src=x onerror=harm()>",
    "<svg onload=harm()>",
    "<svg><script>harm()</script></svg>",
    "<svg><style><img src=x onerror=harm()></style></svg>",
    "<svg></p><style><a id='</style><img src=1 onerror=harm()>'></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=harm()&gt;'>",
    "<noscript><p title='</noscript><img src=x onerror=harm()>'></noscript>",
    "<!--><img src=x onerror=harm()>-->",
    "<![CDATA[><img src=x onerror=harm()>]]>",
    "<?xml ><img src=x onerror=harm()>?>",
    "<title><img src=x onerror=harm()></title>",
    "<svg><title><img src=x onerror=harm()></title></svg>",
    "<svg><desc><p><title>&lt;/title>&lt;img src=x onerror=harm()></title></desc></svg>",
    "<svg><foreignObject><iframe src=javascript:harm()></iframe></foreignObject></svg>",
    "<svg><animate onbegin=harm() attributeName=x dur=1s>",
    "<svg><a xlink:href='javascript:harm()'><text y=20>x</text></a></svg>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload=harm()>#x'/></svg>",
    "<svg><image href='https://example.invalid/x.png'/></svg>",
    "<a href='javascript:harm()'>x</a>",
    "<a href=' \x01java\nscript:harm()'>x</a>",
    "<a href='data:text/html,<script>harm()</script>'>x</a>",
    "<img src='data:text/html;base64,PHNjcmlwdD4='>",
    "<img src='https://example.invalid/x.png' srcset='https://example.invalid/y.png 2x'>",
    "<iframe srcdoc='<script>harm()</script>'></iframe>",
    "<object data=x></object><embed src=x><applet code=x>",
    "<link rel=stylesheet href=https://example.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=https://example.invalid/'><base href=https://example.invalid/>",
    "<form action=https://example.invalid/><input name=x autofocus onfocus=harm()><button>go</button></form>",
    "<style>@import 'https://example.invalid/x.css'; *{background:url(https://example.invalid/x)}</style>",
    "<p style='background:url(https://example.invalid/x)'>x</p>",
    "<p style='position:fixed;inset:0;z-index:9999'>x</p>",
    "<p style='width:expression(harm());behavior:url(x)'>x</p>",
    "<p style='color:red;margin-top:-9999px;font-size:9999px'>x</p>",
    "<p class='r-skip r-head' id=main tabindex=1 contenteditable>x</p>",
    "<textarea><img src=x onerror=harm()></textarea><xmp><img src=x onerror=harm()></xmp>",
    "<plaintext><script>harm()</script>",
    "<template><img src=x onerror=harm()></template>",
    "<details ontoggle=harm() open>x</details>",
    "<table background=https://example.invalid/x><td background=https://example.invalid/x>x",
    "<video poster=https://example.invalid/x src=x onerror=harm()></video>",
    "<svg><rect fill='url(https://example.invalid/#x)' mask='url(#y)' style='fill:url(#z)'/></svg>",
    "<svg><filter id=f><feImage href='https://example.invalid/x'/></filter><rect filter='url(#f)'/></svg>",
    "<img src=x alt='\"><script>harm()</script>'>",
    "<b title='x\" onmouseover=\"harm()'>x</b>",
)

_NAMES = st.sampled_from(
    [*sorted(HTML | SVG | GONE), "FOREIGNOBJECT", "Script", "mglyph", "mtext", "form", "x-y", "html", "body"]
)
_ATTRIBUTES = st.sampled_from(
    """id class style href xlink:href src onclick ONLOAD title alt fill d hidden aria-labelledby role tabindex srcset
    formaction background width colspan clip-path""".split()  # noqa: SIM905
)
_VALUES = st.text(max_size=12) | st.sampled_from(
    [
        *("a", "b c", "javascript:harm()", "data:text/html,x", "https://example.invalid/x", "#a", "url(#a)"),
        *(
            "url(http://x)",
            "r-skip",
            "color:red",
            "color:red;position:fixed",
            "data:image/png;base64,AAAA",
            "1",
        ),
        *('x" onclick="y', "'", "<b>"),
    ]
)
_TEXTS = st.text(max_size=8) | st.sampled_from(
    ["<", ">", "&lt;", "&#0;", "--", "-->", "<!--", "<![CDATA[", "<![x", "]]>", "</", "\x00", "\u202e", "$x$"]
)


@st.composite
def _opened(draw: st.DrawFn) -> str:
    quote, end = draw(st.sampled_from("\"'")), draw(st.sampled_from((">", "/>", " >", "")))
    given = draw(st.lists(st.tuples(_ATTRIBUTES, _VALUES), max_size=3))
    return f"<{draw(_NAMES)}{''.join(f' {name}={quote}{value}{quote}' for name, value in given)}{end}"


#: Markup of every kind, in every order, well-formed or not.
HTML_SOUP = st.lists(
    _opened() | _NAMES.map("</{}>".format) | _TEXTS | st.sampled_from(KNOWN), max_size=14
).map("".join)

"use strict";(self.rspackChunk_kernlab_vmcore_explorer=self.rspackChunk_kernlab_vmcore_explorer||[]).push([[232],{475(e,r,n){var a=n(601),o=n.n(a),t=n(314),l=(n.n(t))()(o());l.push([e.id,`/* The document of a dump, the side panel, and the struct snapshots. */
.kernlab-Document { background: var(--jp-layout-color1); color: var(--jp-ui-font-color1); font-size: var(--jp-ui-font-size1); }
.kernlab-Top { display: flex; flex-direction: column; overflow: auto; }
.kernlab-Top > .jp-OutputArea { flex: 1; min-height: 0; }
.kernlab-mod-ready .kernlab-Top > .jp-OutputArea,
.kernlab-mod-ready .kernlab-Top :is(.jp-OutputArea-child, .jp-OutputArea-output) { display: flex; flex-direction: column; height: 100%; flex: 1; min-height: 0; padding: 0; margin: 0; overflow: hidden; }
.kernlab-mod-ready .kernlab-Top .jp-OutputArea-output > * { flex: 1; min-height: 0; }
.kernlab-mod-ready .kernlab-Top .kernlab-explorer-box { height: 100%; margin: 0; overflow: auto; }
.kernlab-mod-ready .kernlab-Top .kernlab-explorer-box > .kl-explorer-host { flex: 1 0 420px; min-height: 0; margin: 0; }
.kernlab-mod-ready .kernlab-Top .kernlab-explorer-box > :not(.kl-explorer-host) { flex: 0 0 auto; padding: 8px; }
.kernlab-mod-ready .kernlab-Top .kl-explorer { border: 0; border-radius: 0; }
.kernlab-Summary { padding: 20px 28px; line-height: 1.5; }
.kernlab-Summary[hidden] { display: none; }
.kernlab-Summary :is(h2, p) { margin: 0 0 4px; }
.kernlab-Summary h2 { font-size: 1.2em; }
.kernlab-Summary dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 16px; margin: 12px 0; }
.kernlab-Summary dd { margin: 0; overflow-wrap: anywhere; }
.kernlab-Summary dt, .kernlab-soft { color: var(--jp-ui-font-color2); }
.kernlab-Summary .kernlab-why { font-family: var(--jp-code-font-family); font-weight: 600; border-left: 4px solid var(--jp-error-color1); padding-left: 10px; overflow-wrap: anywhere; }
.kernlab-bad { color: var(--jp-error-color1); overflow-wrap: anywhere; }
.kernlab-Summary .kernlab-wait { color: var(--jp-ui-font-color2); font-style: italic; }
.kernlab-Console { border-top: 1px solid var(--jp-border-color1); }
.kernlab-Console > .jp-Toolbar { display: none; }

.kernlab-Panel { display: flex; flex-direction: column; min-width: 180px; background: var(--jp-layout-color1); color: var(--jp-ui-font-color1); font-size: var(--jp-ui-font-size1); }
.kernlab-Panel-head { display: flex; align-items: center; justify-content: space-between; padding: 8px 8px 8px 12px; border-bottom: 1px solid var(--jp-border-color2); }
.kernlab-Panel h2 { margin: 0; font-size: 11px; font-weight: 600; text-transform: uppercase; letter-spacing: .04em; }
.kernlab-Panel button { font: inherit; color: inherit; background: none; border: 0; padding: 0; text-align: left; cursor: pointer; }
.kernlab-Panel button:hover { background: var(--jp-layout-color2); }
.kernlab-Panel :focus-visible { outline: 2px solid var(--jp-brand-color1); outline-offset: -2px; }
.kernlab-Panel .kernlab-again { padding: 4px; border-radius: 3px; line-height: 0; }
.kernlab-List { flex: 1; overflow-y: auto; }
.kernlab-List > p { padding: 4px 12px; line-height: 1.5; }
.kernlab-List summary { padding: 8px 12px 2px; cursor: pointer; overflow-wrap: anywhere; }
.kernlab-List .kernlab-from { display: block; width: 100%; padding: 2px 12px 6px 25px; color: var(--jp-ui-font-color2); overflow-wrap: anywhere; }
.kernlab-Tables button { display: flex; justify-content: space-between; gap: 12px; width: 100%; padding: 2px 12px 2px 25px; font-variant-numeric: tabular-nums; }
.kernlab-List details + details { border-top: 1px solid var(--jp-border-color2); }

.kernlab-Tree { padding: 4px 0; font-size: var(--jp-code-font-size); line-height: 1.5; color: var(--jp-ui-font-color1); overflow-x: auto; }
.kernlab-Tree :is(summary, .kernlab-leaf) { font-family: var(--jp-code-font-family); white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
.kernlab-Tree details > :not(summary) { margin-left: 1.4em; }
.kernlab-Tree .kernlab-leaf { padding-left: 1em; }
.kernlab-Kept > p { margin: 0 0 4px; font-size: var(--jp-ui-font-size1); }
`,""]),n.d(r,{},{A:l})},314(e){e.exports=function(e){var r=[];return r.toString=function(){return this.map(function(r){var n="",a=void 0!==r[5];return r[4]&&(n+="@supports (".concat(r[4],") {")),r[2]&&(n+="@media ".concat(r[2]," {")),a&&(n+="@layer".concat(r[5].length>0?" ".concat(r[5]):""," {")),n+=e(r),a&&(n+="}"),r[2]&&(n+="}"),r[4]&&(n+="}"),n}).join("")},r.i=function(e,n,a,o,t){"string"==typeof e&&(e=[[null,e,void 0]]);var l={};if(a)for(var i=0;i<this.length;i++){var p=this[i][0];null!=p&&(l[p]=!0)}for(var s=0;s<e.length;s++){var c=[].concat(e[s]);a&&l[c[0]]||(void 0!==t&&(void 0===c[5]||(c[1]="@layer".concat(c[5].length>0?" ".concat(c[5]):""," {").concat(c[1],"}")),c[5]=t),n&&(c[2]&&(c[1]="@media ".concat(c[2]," {").concat(c[1],"}")),c[2]=n),o&&(c[4]?(c[1]="@supports (".concat(c[4],") {").concat(c[1],"}"),c[4]=o):c[4]="".concat(o)),r.push(c))}},r}},601(e){e.exports=function(e){return e[1]}},72(e){var r=[];function n(e){for(var n=-1,a=0;a<r.length;a++)if(r[a].identifier===e){n=a;break}return n}function a(e,a){for(var o={},t=[],l=0;l<e.length;l++){var i=e[l],p=a.base?i[0]+a.base:i[0],s=o[p]||0,c="".concat(p," ").concat(s);o[p]=s+1;var d=n(c),u={css:i[1],media:i[2],sourceMap:i[3],supports:i[4],layer:i[5]};if(-1!==d)r[d].references++,r[d].updater(u);else{var f=function(e,r){var n=r.domAPI(r);return n.update(e),function(r){r?(r.css!==e.css||r.media!==e.media||r.sourceMap!==e.sourceMap||r.supports!==e.supports||r.layer!==e.layer)&&n.update(e=r):n.remove()}}(u,a);a.byIndex=l,r.splice(l,0,{identifier:c,updater:f,references:1})}t.push(c)}return t}e.exports=function(e,o){var t=a(e=e||[],o=o||{});return function(e){e=e||[];for(var l=0;l<t.length;l++){var i=n(t[l]);r[i].references--}for(var p=a(e,o),s=0;s<t.length;s++){var c=n(t[s]);0===r[c].references&&(r[c].updater(),r.splice(c,1))}t=p}}},659(e){var r={};e.exports=function(e,n){var a=function(e){if(void 0===r[e]){var n=document.querySelector(e);if(window.HTMLIFrameElement&&n instanceof window.HTMLIFrameElement)try{n=n.contentDocument.head}catch(e){n=null}r[e]=n}return r[e]}(e);if(!a)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");a.appendChild(n)}},540(e){e.exports=function(e){var r=document.createElement("style");return e.setAttributes(r,e.attributes),e.insert(r,e.options),r}},56(e,r,n){e.exports=function(e){var r=n.nc;r&&e.setAttribute("nonce",r)}},825(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var r=e.insertStyleElement(e);return{update:function(n){var a,o,t;a="",n.supports&&(a+="@supports (".concat(n.supports,") {")),n.media&&(a+="@media ".concat(n.media," {")),(o=void 0!==n.layer)&&(a+="@layer".concat(n.layer.length>0?" ".concat(n.layer):""," {")),a+=n.css,o&&(a+="}"),n.media&&(a+="}"),n.supports&&(a+="}"),(t=n.sourceMap)&&"u">typeof btoa&&(a+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(t))))," */")),e.styleTagTransform(a,r,e.options)},remove:function(){var e;null===(e=r).parentNode||e.parentNode.removeChild(e)}}}},113(e){e.exports=function(e,r){if(r.styleSheet)r.styleSheet.cssText=e;else{for(;r.firstChild;)r.removeChild(r.firstChild);r.appendChild(document.createTextNode(e))}}},579(e,r,n){var a=n(72),o=n.n(a),t=n(825),l=n.n(t),i=n(659),p=n.n(i),s=n(56),c=n.n(s),d=n(540),u=n.n(d),f=n(113),m=n.n(f),b=n(475),h={};h.styleTagTransform=m(),h.setAttributes=c(),h.insert=p().bind(null,"head"),h.domAPI=l(),h.insertStyleElement=u(),o()(b.A,h),b.A&&b.A.locals&&b.A.locals}}]);
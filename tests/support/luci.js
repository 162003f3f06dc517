/* What a page of LuCI finds around it, as far as ours need it, with a stub in the place of its RPC: `answers` says what
   each method of ubus gives, `calls` what was asked. No part of LuCI. Used by tests/luci.rs. */

const calls = [], answers = {};
const _ = (text) => text;

String.prototype.format = function(...values) {
	return this.replace(/%[sd]/g, () => values.shift());
};

/* As LuCI's: what is in a list becomes text, a string alone HTML. */
function append(node, children) {
	if (Array.isArray(children))
		node.append(...children.filter((child) => child != null));
	else if (children instanceof Node)
		node.append(children);
	else if (children != null)
		node.innerHTML = children;
	return node;
}

/* As LuCI's: an element in the second place would be taken for attributes. */
function E(tag, attributes, children) {
	if (!(attributes instanceof Object) || Array.isArray(attributes))
		[ attributes, children ] = [ {}, attributes ];
	if (attributes instanceof Node)
		throw 'an element for attributes';
	const node = document.createElement(tag);
	for (const [ name, value ] of Object.entries(attributes))
		typeof value === 'function' ? node.addEventListener(name, value) : node.setAttribute(name, value);
	return append(node, children);
}

const modules = {
	dom: { content: (node, children) => { node.replaceChildren(); append(node, children); } },
	poll: { add: (ask) => { modules.poll.ask = ask; } },
	rpc: {
		declare: (declared) => (...values) => {
			const given = Object.fromEntries((declared.params || []).map((name, at) => [ name, values[at] ]));
			calls.push(declared.method + ' ' + JSON.stringify(given));
			const answer = typeof answers[declared.method] === 'function' ? answers[declared.method](given) : answers[declared.method];
			const [ key, absent ] = Object.entries(declared.expect || {})[0] || [];
			return Promise.resolve(key === undefined ? answer : answer?.[key] ?? absent);
		}
	},
	ui: {
		createHandlerFn: (page, handler, ...values) => () => page[handler](...values),
		showModal: (title, children) => append(document.getElementById('modal'), [ E('h4', {}, title), ...children ]),
		hideModal: () => document.getElementById('modal').replaceChildren(),
		addNotification: (title, node, kind) => append(document.getElementById('notes'), E('div', { 'class': kind }, [ node ]))
	},
	view: { extend: (page) => page },
	widgets: { DeviceSelect: 'DeviceSelect' },
	/* Says what a form has: TYPE SECTION and TYPE OPTION. */
	form: {
		Map: function(config, title) {
			const said = [ 'Map ' + config ];
			this.section = (kind, name) => {
				said.push(kind + ' ' + name);
				return { option: (kind, option) => (said.push('  ' + kind + ' ' + option), { value: () => {} }) };
			};
			this.render = () => E('pre', { 'id': 'form' }, said.join('\n'));
		}
	}
};
for (const kind of [ 'NamedSection', 'GridSection', 'Flag', 'Value', 'ListValue', 'DynamicList' ])
	modules.form[kind] = kind;

/* As LuCI does it: 'require NAME' and 'require PATH as NAME' at the top of a page are its parameters. */
async function open(source) {
	const names = [ ...source.matchAll(/^'require (\S+)(?: as (\S+))?';$/gm) ].map((found) => found[2] || found[1]);
	const page = new Function(...names, source)(...names.map((name) => modules[name]));
	const data = page.load ? await page.load() : undefined;
	document.getElementById('page').append(await page.render(data));
}

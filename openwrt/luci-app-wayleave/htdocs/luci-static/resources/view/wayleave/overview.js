'use strict';
'require dom';
'require poll';
'require rpc';
'require ui';
'require view';

/* Who is here, what is left to them, and what their host can do about it. Asks the object `wayleave` on ubus.
   What is in a list becomes text; a string alone would become HTML. */

function declare(method, params, expect) {
	return rpc.declare({ object: 'wayleave', method: method, params: params, expect: expect });
}

const callStatus = declare('status');
const callStations = declare('stations', undefined, { stations: [] });
const callGrants = declare('grants', undefined, { grants: [] });
const callDoctor = declare('doctor', undefined, { findings: [] });
const callGrant = declare('grant', [ 'station', 'lease_ms', 'quota' ]);
const callTopup = declare('topup', [ 'target', 'lease_ms', 'quota' ]);
const callEvict = declare('evict', [ 'target' ]);

function bytes(count) {
	if (count == null)
		return _('no limit');
	const units = [ 'B', 'kB', 'MB', 'GB', 'TB' ];
	let unit = 0;
	for (; count >= 1000 && unit < units.length - 1; unit++)
		count /= 1000;
	return (unit ? count.toFixed(1) : count) + ' ' + units[unit];
}

function time(ms) {
	if (ms == null)
		return _('for good');
	const minutes = Math.round(ms / 60000);
	return minutes < 60 ? minutes + ' min' : Math.floor(minutes / 60) + ' h ' + (minutes % 60) + ' min';
}

function leftOf(grant) {
	return grant.quota == null ? null : Math.max(0, grant.quota - grant.moved.up_bytes - grant.moved.down_bytes);
}

function link(state) {
	if (state == null || state === 'alone')
		return _('none: you grant by hand');
	return state.up ? _('connected: %s').format(state.up.host) : '%s: %s'.format(state.down.host, state.down.why);
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load: function() {
		return Promise.all([ callStatus(), callStations(), callGrants(), callDoctor() ]);
	},

	/* A call that changes something: what is refused is said with its reason. */
	change: function(call) {
		return call.then((answer) => {
			const error = answer != null ? answer.error : null;
			if (error)
				ui.addNotification(null, E('p', [ error.sentence ]), 'danger');
			else if (answer == null)
				ui.addNotification(null, E('p', _('The gateway does not answer.')), 'danger');
			return this.refresh();
		});
	},

	refresh: function() {
		return this.load().then((data) => dom.content(this.node, this.content(data)));
	},

	rowsOf: function(stations, grants) {
		const here = new Map(stations.map((station) => [ station.mac, station ]));
		const rows = grants.map((grant) => ({ grant: grant, station: here.get(grant.station) }));
		const granted = new Set(grants.map((grant) => grant.station));
		return rows.concat(stations.filter((station) => !granted.has(station.mac)).map((station) => ({ station: station })));
	},

	buttons: function(row) {
		if (!row.grant)
			return [
				E('button', { 'class': 'btn cbi-button cbi-button-add', 'click': ui.createHandlerFn(this, 'ask', 'grant', row.station.mac) }, _('Grant…'))
			];
		const more = row.grant.origin === 'owner' && (row.grant.quota != null || row.grant.left != null);
		return [
			more ? E('button', { 'class': 'btn cbi-button cbi-button-action', 'click': ui.createHandlerFn(this, 'ask', 'topup', row.grant.id) }, _('More…')) : '',
			' ',
			E('button', { 'class': 'btn cbi-button cbi-button-remove', 'click': ui.createHandlerFn(this, 'evict', row.grant.id) }, _('Evict'))
		];
	},

	evict: function(target) {
		return this.change(callEvict(target));
	},

	/* Asks how long and how much; nothing: without limit, or nothing more. */
	ask: function(verb, target) {
		const hours = E('input', { 'type': 'number', 'min': '0', 'step': 'any', 'class': 'cbi-input-text', 'id': 'wayleave-hours' });
		const megabytes = E('input', { 'type': 'number', 'min': '0', 'step': 'any', 'class': 'cbi-input-text', 'id': 'wayleave-megabytes' });
		const go = () => {
			const lease = Math.round(Number(hours.value || 0) * 3600000), quota = Math.round(Number(megabytes.value || 0) * 1000000);
			ui.hideModal();
			return this.change((verb === 'grant' ? callGrant : callTopup)(target, lease, quota));
		};
		ui.showModal([ verb === 'grant' ? _('Let in %s').format(target) : _('More for this grant') ], [
			E('p', verb === 'grant' ? _('What is left empty has no limit.') : _('What is left empty stays as it is.')),
			E('label', [ _('Hours'), ' ', hours ]), ' ',
			E('label', [ _('Megabytes'), ' ', megabytes ]),
			E('div', { 'class': 'right' }, [
				E('button', { 'class': 'btn', 'click': ui.hideModal }, _('Cancel')), ' ',
				E('button', { 'class': 'btn cbi-button-positive important', 'id': 'wayleave-go', 'click': go }, verb === 'grant' ? _('Grant') : _('Add'))
			])
		]);
	},

	content: function(data) {
		const status = data[0], rows = this.rowsOf(data[1], data[2]);
		if (status == null || status.version == null)
			return E('p', { 'class': 'alert-message warning' }, _('The gateway does not run: see Settings.'));
		const problems = data[3].filter((finding) => finding.severity === 'problem');
		const table = E('table', { 'class': 'table cbi-section-table', 'id': 'wayleave-stations' }, [
			E('tr', { 'class': 'tr table-titles' },
				[ _('Station'), _('Network'), _('Time left'), _('Bytes left'), _('Moved'), '' ].map((title) => E('th', { 'class': 'th' }, title)))
		].concat(rows.map((row) => {
			const grant = row.grant, moved = (grant || row.station).moved;
			return E('tr', { 'class': 'tr' }, [
				E('td', { 'class': 'td' }, [ grant && !grant.station ? E('em', _('whoever has the code')) : (row.station ? row.station.mac : grant.station) ]),
				E('td', { 'class': 'td' }, [ row.station ? row.station.interface : E('em', _('not here')) ]),
				E('td', { 'class': 'td' }, [ grant ? time(grant.left) : '–' ]),
				E('td', { 'class': 'td' }, [ grant ? bytes(leftOf(grant)) : '–' ]),
				E('td', { 'class': 'td' }, [ bytes(moved.up_bytes + moved.down_bytes) ]),
				E('td', { 'class': 'td cbi-section-actions' }, this.buttons(row))
			]);
		})));
		return E('div', [
			E('div', { 'class': 'cbi-section' }, [
				E('p', { 'id': 'wayleave-glance' }, [ _('%d stations, %d grants on %s. Coordinator: %s. Beacons on %d of %d access points.')
					.format(status.stations, status.grants, status.interfaces.join(', '), link(status.link), status.beacons, status.bsses) ]),
				E('div', problems.map((finding) => E('p', { 'class': 'alert-message warning' }, [ finding.found + ' ' + finding.advice ])))
			]),
			E('div', { 'class': 'cbi-section' }, [ rows.length ? table : E('p', [ E('em', _('Nobody is here.')) ]) ])
		]);
	},

	render: function(data) {
		this.node = E('div', [ this.content(data) ]);
		poll.add(() => this.refresh(), 5);
		return E('div', { 'class': 'cbi-map' }, [ E('h2', _('Wayleave')), this.node ]);
	}
});

'use strict';
'require form';
'require view';
'require tools.widgets as widgets';

/* /etc/config/wayleave. What is left empty has its default; the gateway reads the file again when it is applied. */

return view.extend({
	render: function() {
		const map = new form.Map('wayleave', _('Wayleave'), _('What this router shares, and how.'));
		let section = map.section(form.NamedSection, 'gateway', 'gateway', _('This router'));
		section.addremove = false;
		section.option(form.Flag, 'enabled', _('Share'), _('Nobody passes without a grant from then on.'));
		let option = section.option(form.Value, 'name', _('Name'), _('What terminals are shown; the host name otherwise.'));
		option.datatype = 'maxlength(64)';

		section = map.section(form.GridSection, 'network', _('Shared networks'));
		section.addremove = true;
		section.anonymous = false;
		option = section.option(widgets.DeviceSelect, 'interface', _('Interface'), _('The bridge of the guest network.'));
		option.rmempty = false;
		option.noaliases = true;
		option = section.option(form.Value, 'ssid', _('SSID'), _('Where hostapd does not say it.'));
		option.datatype = 'maxlength(32)';
		option = section.option(form.Value, 'passphrase', _('Passphrase'));
		option.datatype = 'wpakey';
		option.password = true;
		option.modalonly = true;
		option = section.option(form.Value, 'wpa_psk_file', _('File of codes'), _('The same as wpa_psk_file of hostapd.'));
		option.placeholder = '/var/run/wayleave/guest.psk';
		option.modalonly = true;

		section = map.section(form.NamedSection, 'enforcement', 'enforcement', _('Enforcement'));
		option = section.option(form.ListValue, 'visitors', _('Visitors'));
		option.value('apart', _('do not reach each other'));
		option.value('together', _('reach each other'));
		option = section.option(form.Value, 'low_mark', _('Low mark'), _('Percent of a quota that are left when that is said; 0: never.'));
		option.datatype = 'range(0,99)';
		option.placeholder = '10';

		section = map.section(form.NamedSection, 'open', 'open', _('Open to everybody'));
		option = section.option(form.DynamicList, 'services', _('Services of this router'));
		option.placeholder = 'tcp/80';
		option.validate = (_section, value) =>
			!value || /^(tcp|udp)\/[1-9][0-9]{0,4}$/.test(value) || _('A service such as udp/53 or tcp/80');
		option = section.option(form.DynamicList, 'prefixes', _('Elsewhere'));
		option.datatype = 'or(cidr4,cidr6,ipaddr)';
		option.placeholder = '192.0.2.0/24';

		section = map.section(form.NamedSection, 'beacon', 'beacon', _('Beacon'));
		option = section.option(form.Flag, 'enabled', _('Announce'), _('Tells those who are near that access can be had here.'));
		option.default = option.enabled;
		return map.render();
	}
});

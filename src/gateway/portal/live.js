// What is left, as it goes. Without this the page says it as it was when it was loaded.
'use strict';
(() => {
	const { state, language } = document.body.dataset;
	if (state === 'unknown' || !window.EventSource)
		return;
	const source = new EventSource('/live?lang=' + language);
	source.onmessage = (event) => {
		const figures = JSON.parse(event.data);
		document.body.dataset.live = 'on';
		if (figures.state !== state) {
			source.close();
			// What somebody is typing stays.
			const typed = document.querySelector('input[name=code]');
			if (!typed || !typed.value)
				location.replace('/?lang=' + language);
			return;
		}
		for (const name of [ 'bytes', 'time' ]) {
			const shown = document.getElementById(name);
			if (!shown || !figures[name])
				continue;
			shown.textContent = figures[name].text;
			document.getElementById(name + '-bar').value = figures[name].part;
		}
	};
})();

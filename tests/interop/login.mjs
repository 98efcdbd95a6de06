// Logs a user in at the provider, with code and PKCE, as a browser would: it
// follows redirects, keeps cookies, and sends the forms. Prints the ID token.
import * as client from 'openid-client'

const [issuer, user] = process.argv.slice(2)
const config = await client.discovery(new URL(issuer), 'cambist', undefined, client.None(), { execute: [client.allowInsecureRequests] })
const verifier = client.randomPKCECodeVerifier()
const start = client.buildAuthorizationUrl(config, {
  redirect_uri: 'http://127.0.0.1/callback', scope: 'openid profile', code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
})
const cookies = new Map()
async function send(url, body) {
  const response = await fetch(url, {
    method: body ? 'POST' : 'GET', body, redirect: 'manual',
    headers: { cookie: [...cookies].map(([k, v]) => `${k}=${v}`).join('; '), ...(body && { 'content-type': 'application/x-www-form-urlencoded' }) },
  })
  for (const cookie of response.headers.getSetCookie()) {
    const [name, value] = cookie.split(';')[0].split(/=(.*)/s)
    cookies.set(name, value)
  }
  return response
}
let url = start
for (let step = 0; step < 12; step++) {
  let response = await send(url)
  if (response.status === 200) { // a form: of the login, or of the consent
    const html = await response.text()
    const action = new URL(/action="([^"]+)"/.exec(html)[1], url)
    const prompt = /name="prompt" value="([^"]+)"/.exec(html)[1]
    response = await send(action, new URLSearchParams(prompt === 'login' ? { prompt, login: user, password: 'x' } : { prompt }).toString())
  }
  url = new URL(response.headers.get('location'), url)
  if (url.pathname === '/callback') break
}
const tokens = await client.authorizationCodeGrant(config, url, { pkceCodeVerifier: verifier })
console.log(tokens.id_token)

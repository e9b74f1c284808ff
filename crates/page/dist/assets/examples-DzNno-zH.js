import{H as O,G as $}from"./index-BFnznGX7.js";const _=/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;function T(e){const t=s=>s.startsWith('"')||Number.isSafeInteger(Number(s))?s:`"${s}"`;return/\d{16}/.test(e)?e.replace(_,t):e}function u(e){return JSON.parse(T(e))}class A{answer={columns:[],rows:[],hasMore:!1,damaged:[]};rest="";tail=null;hasHead=!1;push(t){const s=(this.rest+t).split(`
`);this.rest=s.pop()??"",s.forEach(r=>this.line(r))}finish(){if((this.rest.startsWith("]")||this.tail!==null)&&this.push(`
`),!this.tail?.endsWith("}"))throw new Error("the answer broke off before its end");const s=u(this.tail);return this.answer.columns=s.columns??this.answer.columns,this.answer.hasMore=s.has_more??!1,this.answer.damaged=s.damaged??[],this.answer}line(t){this.tail!==null?this.tail+=t:this.hasHead?t.startsWith("]")?this.tail=`{"rows":[${t}`:this.answer.rows.push(u(t.endsWith(",")?t.slice(0,-1):t)):this.head(t)}head(t){this.hasHead=!0,t.endsWith('"rows":[')?this.answer.columns=u(`${t}]}`).columns??[]:this.tail=t}}const y=/^(U?Int\d+|Float\d+|Decimal\d*\(.*\))$/;function N(e){return y.test(e)}function E(e){return e===null?"":typeof e=="object"?JSON.stringify(e):String(e)}function g(e,t){const[s,r]=[Number(e),Number(t)];if(s!==r||Number.isSafeInteger(s))return s-r;const[n,a]=[R(e),R(t)];return n===a?0:n<a?-1:1}function R(e){return/^-?\d+$/.test(String(e))?BigInt(String(e)):0n}function b(e,t,s,r){const n=N(s),a=r?-1:1,l=(h,c)=>{const[f,m]=[e[h]?.[t]??null,e[c]?.[t]??null];if(f===null||m===null)return+(f===null)-+(m===null);if(n)return a*g(f,m);const[p,d]=[E(f),E(m)];return p===d?0:p<d?-a:a};return e.map((h,c)=>c).sort(l)}const L=1e4;function M(e){return e!==void 0&&/^\d{1,9}$/.test(e)?Number(e):L}function w(e,t,s,r){return O("api/v1/sql","application/json",JSON.stringify({query:e,format:t,limit:s}),r)}const S=e=>new $("broken_off","the answer broke off before its end: a limit or the deadline of the server was reached",e.status);async function B(e,t,s,r=()=>{}){const n=await w(e,"json",t,s),a=new A;try{return await D(n,l=>{a.push(l),r(a.answer)}),a.finish()}catch(l){throw s.aborted?l:S(n)}}async function D(e,t){const s=e.body?.getReader(),r=new TextDecoder;for(let n=await s?.read();n&&!n.done;n=await s?.read())t(r.decode(n.value,{stream:!0}))}async function F(e,t,s,r){const n=await w(e,t,s,r);return n.blob().catch(a=>{throw r.aborted?a:S(n)})}function o(e){return`'${e.replaceAll("'","''")}'`}function Y(e){const[t,s]=[o(e.profileType),o(e.selector)],[r,n,a]=[o(e.from),o(e.to),o(e.middle)];return[{title:"Functions by what they spend",statement:`SELECT name, self, total
FROM top_functions(${s}, ${r}, ${n})
LIMIT 20`},{title:"Functions that grew, of two halves",statement:`SELECT name, sum(self_before) AS before, sum(self_after) AS after, sum(self_after - self_before) AS grown
FROM diff(${s}, ${r}, ${a}, ${a}, ${n})
GROUP BY name
ORDER BY grown DESC
LIMIT 20`},{title:"Flame graph of a selection",statement:`SELECT depth, name, self, total
FROM merge(${s}, ${r}, ${n})
ORDER BY node`},{title:"Flame graph of two halves",statement:`SELECT depth, name, self_before, total_before, self_after, total_after
FROM diff(${s}, ${r}, ${a}, ${a}, ${n})
ORDER BY node`},{title:"A flame graph for each service",statement:`SELECT service_name, flamegraph(stack, value) AS graph
FROM samples
WHERE profile_type = ${t} AND time >= ${i(e.from)} AND time < ${i(e.to)}
GROUP BY service_name
ORDER BY service_name`},{title:"Innermost functions by service",statement:`SELECT service_name, leaf, sum(value) AS spent
FROM samples
WHERE profile_type = ${t} AND time >= ${i(e.from)} AND time < ${i(e.to)}
GROUP BY service_name, leaf
ORDER BY spent DESC
LIMIT 20`},{title:"Totals by minute",statement:`SELECT date_bin(INTERVAL '1 minute', time) AS minute, sum(total) AS total, count(*) AS profiles
FROM profiles
WHERE profile_type = ${t} AND time >= ${i(e.from)} AND time < ${i(e.to)}
GROUP BY minute
ORDER BY minute`},{title:"Services and profile types there are",statement:`SELECT service_name, profile_type, count(*) AS series, max(last_time) AS newest
FROM series
GROUP BY service_name, profile_type
ORDER BY service_name, profile_type`},{title:"Where functions are defined",statement:`SELECT DISTINCT service_name, name, filename, start_line
FROM functions
ORDER BY service_name, name
LIMIT 100`},{title:"The deepest stacks",statement:`SELECT service_name, depth, leaf, stack
FROM stacks
ORDER BY depth DESC
LIMIT 20`},{title:"What is stored, by level",statement:`SELECT level, count(*) AS segments, sum(profiles) AS profiles, sum(samples) AS samples, sum(bytes) AS bytes
FROM segments
GROUP BY level
ORDER BY level`},{title:"What a statement reads",statement:`EXPLAIN ANALYZE SELECT sum(value)
FROM samples
WHERE profile_type = ${t} AND time >= ${i(e.from)} AND time < ${i(e.to)}`}]}const v={s:"second",m:"minute",h:"hour",d:"day",w:"week",y:"year"};function i(e){if(e==="now")return"now()";const[,t,s=""]=/^now-(\d+)(s|m|h|d|w|y)$/.exec(e)??[];return t===void 0?o(e):`now() - INTERVAL '${t} ${v[s]}${t==="1"?"":"s"}'`}export{L,B as a,Y as e,F as f,N as i,M as l,o as q,b as s,E as t};

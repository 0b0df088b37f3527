// Lines of PowerShell that do what the page does.
import { psText } from './core.js';

/** The line of PowerShell that queues the same again. */
export function again(spec, queue) {
  const { author, ...rest } = spec ?? {};
  const home = queue ? ` -Queue ${psText(queue.name)} -QueueEntity ${psText(queue.entity)}${queue.project === 'model-registry' ? '' : ` -QueueProject ${psText(queue.project)}`}` : '';
  return `Add-WandbLaunchQueueItem${home} -Config ${psText(JSON.stringify(rest))}`;
}

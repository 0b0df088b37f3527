using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Removes the records of agents of this machine that have ended.</summary>
/// <remarks>An agent that stopped, or was killed, stays in the list of Get-WandbLaunchAgent with its log. This removes both. One that runs must be stopped first. One that holds items whose end the server does not know yet stays: the next agent of this machine takes them over. Runs and their logs are not touched. Asks before it removes.</remarks>
/// <example><para>Tidy up</para><code>Get-WandbLaunchAgent -State stopped, lost | Where-Object Local | Remove-WandbLaunchAgent -Confirm:$false</code><para>Their logs go with them.</para></example>
/// <example><para>Which would go?</para><code>Remove-WandbLaunchAgent test* -WhatIf</code><para>Removes nothing.</para></example>
/// <example><para>Those that nobody has heard of for a month</para><code>Get-WandbLaunchAgent -State lost | Where-Object { $_.Local -and $_.Heartbeat -lt [DateTime]::Now.AddMonths(-1) } | Remove-WandbLaunchAgent -Confirm:$false</code><para>One that holds items is an error and stays.</para></example>
[Cmdlet(VerbsCommon.Remove, "WandbLaunchAgent", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType("WandbLaunch.Wandb.WandbLaunchAgent")]
public sealed class RemoveWandbLaunchAgentCommand : PipelineCommand
{
    /// <summary>Names of agents; wildcards are allowed, and mean those that have ended.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(AgentCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <summary>Write the agents whose records were removed, as they were.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbLaunchAgent)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var store = AgentStore.Of(Context);
        foreach (var name in Name)
        {
            try
            {
                if (Kind is not null && InputObject!.Properties["ProcessId"]?.Value is null)
                {
                    throw Elsewhere(name);
                }

                var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
                var wild = Kind is null && WildcardPattern.ContainsWildcardCharacters(name);
                var found = store
                    .All()
                    .Where(a =>
                        wild
                            ? pattern.IsMatch(a.Name) && HasEnded(a)
                            : a.Name.Equals(name, StringComparison.OrdinalIgnoreCase)
                    )
                    .ToList();
                if (found.Count == 0 && !wild)
                {
                    throw Elsewhere(name);
                }

                foreach (var agent in found)
                {
                    await RemoveAsync(store, agent);
                }
            }
            catch (Exception e) when (e is LaunchException or IOException or UnauthorizedAccessException)
            {
                Error(e, name);
            }
        }
    }

    private async Task RemoveAsync(AgentStore store, WandbLaunchAgent agent)
    {
        bool IsService(bool machineWide) => AgentServices.Here(Context, machineWide).Exists(agent.Name);

        try
        {
            if (!HasEnded(agent))
            {
                throw Runs(agent);
            }

            if (IsService(false) || IsService(true))
            {
                throw new LaunchException(
                    "AgentIsService",
                    LaunchErrorCategory.InvalidOperation,
                    $"The agent {agent.Name} is a service, and its settings are kept with it. Take the service away first: Unregister-WandbLaunchAgent {agent.Name}",
                    agent
                );
            }

            var open = store.OpenItems(agent.Name);
            if (open > 0)
            {
                throw new LaunchException(
                    "AgentHasItems",
                    LaunchErrorCategory.InvalidOperation,
                    $"The agent {agent.Name} holds {open} items whose end the server does not know yet. Start an agent for {string.Join(", ", agent.Queues)} on this machine: it takes them over, and reports them.",
                    agent
                );
            }

            if (
                !await ShouldProcessAsync(
                    $"{agent.Name} ({agent.State}; {string.Join(", ", agent.Queues)})",
                    "Remove agent's record and log"
                )
            )
            {
                return;
            }

            if (!store.Remove(agent.Name))
            {
                throw Runs(agent);
            }

            if (PassThru)
            {
                Output(agent);
            }
        }
        catch (Exception e) when (e is LaunchException or IOException or UnauthorizedAccessException)
        {
            Error(e, agent);
        }
    }

    private static bool HasEnded(WandbLaunchAgent agent) => agent.State is AgentState.Stopped or AgentState.Lost;

    private static LaunchException Runs(WandbLaunchAgent agent) =>
        new(
            "AgentNotDone",
            LaunchErrorCategory.InvalidOperation,
            $"The agent {agent.Name} is {agent.State}. Stop it first: Stop-WandbLaunchAgent {agent.Name}",
            agent
        );

    private static LaunchException Elsewhere(string name) =>
        new(
            "AgentNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"This machine has no record of an agent {name}. Those of other machines are removed there. See Get-WandbLaunchAgent.",
            name
        );
}

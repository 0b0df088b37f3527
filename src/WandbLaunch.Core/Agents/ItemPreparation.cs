using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Agents;

/// <summary>What an item and the agent's settings make together: the launch config and its options.</summary>
internal static class ItemPreparation
{
    /// <summary>The launch config and options that the item and the agent's settings make together.</summary>
    internal static (LaunchConfig Config, LaunchOptions Options) Prepare(LaunchAgent agent, JournalEntry entry)
    {
        if (entry.Fault is { } fault)
        {
            throw new LaunchException(
                "ItemInvalid",
                LaunchErrorCategory.InvalidData,
                $"The item's launch config cannot be used: {fault}.",
                entry.Item
            );
        }

        var item = LaunchConfig.FromJson(entry.Spec);
        CheckLine("_wandb_api_key", item.ApiKey?.Value);
        CheckLine("author", item.Author);
        CheckLine("sweep_id", item.SweepId);
        CheckRunId(entry.RunId);
        if (!agent.Protocol.QueuesBelongToEntity && !item.IsScheduler)
        {
            // Agents of 2022 work for their own project alone (protocol F.4, row 4; K 7).
            TellOfOther("entity", item.Entity, agent.Entity);
            TellOfOther("project", item.Project, agent.QueueProject);
            item = item with { Entity = agent.Entity, Project = agent.QueueProject };
        }

        var (arguments, baseImage) = WithoutBuilders(item.ResourceArgs);
        var config = agent.Runs.Resources.Canonical(
            item with
            {
                // What was for the queue, the agent and the server is not the launch's.
                ApiKey = null,
                ResourceArgs = arguments,
                RunId = entry.RunId,
                Entity = item.Entity ?? agent.Entity,
                BaseImage = item.BaseImage ?? baseImage,
            }
        );
        var resource = agent.Runs.Resources.Allowed(config, agent.Config.Policy);
        agent.Config.Policy.Check(config, agent.Entity, config.Entity!);
        var environment = new Dictionary<string, string>(agent.Config.Launch.Environment)
        {
            ["WANDB_LAUNCH_QUEUE_NAME"] = entry.Queue,
            ["WANDB_LAUNCH_QUEUE_ENTITY"] = agent.Entity,
            ["WANDB_LAUNCH_TRACE_ID"] = entry.Item,
        };
        if (item is { Author: { } author, ApiKey: null })
        {
            environment["WANDB_USERNAME"] = author;
        }

        if (item.SweepId is { } sweep)
        {
            environment["WANDB_SWEEP_ID"] = sweep;
        }

        if (item.ResumeCount > 0 || entry.Disruptions > 0)
        {
            environment["WANDB_RESUME"] = "allow";
        }

        if (item.Overrides?.Files is { } files)
        {
            environment["WANDB_LAUNCH_FILE_OVERRIDES"] = files.ToJsonString();
        }

        var options = agent.Config.Launch with
        {
            Agent = agent.Name,
            LaunchId = entry.AttemptId,
            CheckRemote = agent.Config.Policy.CheckRemote,
            CheckImage = agent.Config.Policy.CheckImage,
            ApiKey = item.ApiKey is { } key ? Secrets.Register(key.Value) : null,
            KeepRunId = agent.Protocol.RunsKeepTheirId,
            Environment = environment,
            CheckConfig = agent.Config.Policy.CheckSecure,
            SecureMode = agent.Config.Policy.SecureMode,
        };
        (config, options) = resource.ApplyPolicy(config, options, agent.Config.Policy, new ItemContext(entry.Gpus));

        // The agent's own image is its admin's choice, and needs no leave.
        config = config with
        {
            BaseImage = config.BaseImage ?? agent.Config.BaseImage,
        };
        Launcher.Check(agent.Runs.Resources, config, options);
        return (config, options);

        static void CheckRunId(string id)
        {
            if (
                id.Length > 128
                || id is "." or ".."
                || id.Any(c =>
                    char.IsControl(c) || char.IsWhiteSpace(c) || "/\\#?%:".Contains(c, StringComparison.Ordinal)
                )
            )
            {
                throw new LaunchException(
                    "RunIdInvalid",
                    LaunchErrorCategory.InvalidData,
                    "The item's run_id cannot be the id of a run: 128 characters at most, none of / \\ # ? % : and no spaces.",
                    ItemSpec.Shown(id, 128)
                );
            }
        }

        // Each becomes one variable of the program.
        void CheckLine(string name, string? text)
        {
            if (text is { Length: > 1000 } || text?.Any(char.IsControl) == true)
            {
                throw new LaunchException(
                    "ConfigInvalid",
                    LaunchErrorCategory.InvalidData,
                    $"The launch config key '{name}' must be a string of one line, 1000 characters at most.",
                    entry.Item
                );
            }
        }

        void TellOfOther(string name, string? other, string own)
        {
            if (other is not null && other != own && entry.State == EntryState.Popped)
            {
                agent.Tell(
                    AgentEventKind.Warning,
                    entry,
                    $"The item's {name} '{other}' is not this agent's; its run goes to '{own}'."
                );
            }
        }
    }

    // Today's servers have the base image there (protocol C.1); no resource takes it for an argument of its own.
    private static (JsonObject? Arguments, string? BaseImage) WithoutBuilders(JsonObject? given)
    {
        if (given is null)
        {
            return (null, null);
        }

        string? baseImage = null;
        var all = (JsonObject)given.DeepClone();
        foreach (var arguments in all.Select(r => r.Value).OfType<JsonObject>())
        {
            baseImage ??= arguments["builder"] is JsonObject builder
                ? (builder["base_image"] ?? (builder["accelerator"] as JsonObject)?["base_image"])?.ToString()
                : null;
            arguments.Remove("builder");
        }

        return (all, baseImage);
    }
}

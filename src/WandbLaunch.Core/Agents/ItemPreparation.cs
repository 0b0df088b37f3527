using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Agents;

/// <summary>What an item and the agent's settings make together: the launch config and its options.</summary>
internal static class ItemPreparation
{
    internal static int ResumeCount(JsonObject spec) =>
        spec["_resume_count"] is JsonValue value && int.TryParse(value.ToString(), out var count) ? count : 0;

    internal static bool IsScheduler(JsonObject spec) =>
        spec["uri"] is JsonValue uri && uri.ToString().StartsWith("placeholder", StringComparison.Ordinal);

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

        var spec = (JsonObject)entry.Spec.DeepClone();
        var key = Take("_wandb_api_key");
        var author = Take("author");
        var sweep = Take("sweep_id");
        foreach (
            var name in new[]
            {
                "queue_entity",
                "_resume_count",
                "template_variables",
                "build",
                "builder",
                "registry",
                "job_name",
            }
        )
        {
            spec.Remove(name);
        }

        if (!agent.Protocol.QueuesBelongToEntity && !IsScheduler(spec))
        {
            // Agents of 2022 work for their own project alone (protocol F.4, row 4; K 7).
            foreach (var (name, own) in new[] { ("entity", agent.Entity), ("project", agent.QueueProject) })
            {
                if (spec[name]?.ToString() is { Length: > 0 } other && other != own && entry.State == EntryState.Popped)
                {
                    agent.Tell(
                        AgentEventKind.Warning,
                        entry,
                        $"The item's {name} '{other}' is not this agent's; its run goes to '{own}'."
                    );
                }

                spec[name] = own;
            }
        }

        string? baseImage = null;
        if (spec["resource_args"] is JsonObject resources)
        {
            foreach (var arguments in resources.Select(r => r.Value).OfType<JsonObject>())
            {
                baseImage ??= arguments["builder"] is JsonObject builder
                    ? (builder["base_image"] ?? (builder["accelerator"] as JsonObject)?["base_image"])?.ToString()
                    : null;
                arguments.Remove("builder");
            }
        }

        CheckRunId(entry.RunId);
        var config = agent.Runs.Resources.Canonical(LaunchConfig.FromJson(spec));
        config = config with
        {
            RunId = entry.RunId,
            Entity = config.Entity ?? agent.Entity,
            BaseImage = config.BaseImage ?? baseImage,
        };
        var resource = agent.Runs.Resources.Allowed(config, agent.Config.Policy);
        agent.Config.Policy.Check(config, agent.Entity, config.Entity!);
        var environment = new Dictionary<string, string>(agent.Config.Launch.Environment)
        {
            ["WANDB_LAUNCH_QUEUE_NAME"] = entry.Queue,
            ["WANDB_LAUNCH_QUEUE_ENTITY"] = agent.Entity,
            ["WANDB_LAUNCH_TRACE_ID"] = entry.Item,
        };
        if (author is not null && key is null)
        {
            environment["WANDB_USERNAME"] = author;
        }

        if (sweep is not null)
        {
            environment["WANDB_SWEEP_ID"] = sweep;
        }

        if (ResumeCount(entry.Spec) > 0)
        {
            environment["WANDB_RESUME"] = "allow";
        }

        if ((entry.Spec["overrides"] as JsonObject)?["files"] is JsonObject { Count: > 0 } files)
        {
            environment["WANDB_LAUNCH_FILE_OVERRIDES"] = files.ToJsonString();
        }

        var options = agent.Config.Launch with
        {
            Agent = agent.Name,
            LaunchId = entry.LaunchId,
            CheckRemote = agent.Config.Policy.CheckRemote,
            CheckImage = agent.Config.Policy.CheckImage,
            ApiKey = key is null ? null : Secrets.Register(key),
            KeepRunId = agent.Protocol.RunsKeepTheirId,
            Environment = environment,
            CheckConfig = agent.Config.Policy.CheckSecure,
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
        string? Take(string name)
        {
            var node = spec[name];
            spec.Remove(name);
            return node switch
            {
                null => null,
                JsonValue value when value.ToString() is { Length: <= 1000 } text && !text.Any(char.IsControl) =>
                    text.Length > 0 ? text : null,
                _ => throw new LaunchException(
                    "ConfigInvalid",
                    LaunchErrorCategory.InvalidData,
                    $"The launch config key '{name}' must be a string of one line, 1000 characters at most.",
                    entry.Item
                ),
            };
        }
    }
}

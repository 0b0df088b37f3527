using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>One item to be pushed.</summary>
internal sealed class QueuePush
{
    private string? _text;

    internal QueuePush(JsonObject spec)
    {
        Json = JsonSerializer.SerializeToUtf8Bytes<JsonNode>(spec, GraphQLTransport.PlainJson);
        var config = LaunchConfig.Tolerant(spec);
        (Source, Entity, Project) = (config.Source, config.Entity, config.Project);
    }

    /// <summary>Keeps the spec as it goes over the wire: thousands wait for their request, and as trees they would cost the garbage collector more than the way itself.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal QueuePush(LaunchConfig spec, byte[] json, int? priority, JsonObject? templateVariables)
    {
        Json = json;
        Source = spec.Source;
        Entity = spec.Entity;
        Project = spec.Project;
        Priority = priority;
        TemplateVariables = templateVariables;
    }

    internal byte[] Json { get; }
    internal string Text => _text ??= Encoding.UTF8.GetString(Json);
    internal string? Source { get; }
    internal string? Entity { get; }
    internal string? Project { get; }
    internal int? Priority { get; }
    internal JsonObject? TemplateVariables { get; }
}

/// <summary>What became of a push: the item's id, the spec where the server made another of it, or the fault.</summary>
internal sealed record QueuePushed(string? Id, QueuePush Item, string? Spec, LaunchException? Fault);

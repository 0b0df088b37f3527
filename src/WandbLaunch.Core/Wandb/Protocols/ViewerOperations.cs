using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>Who is logged in: the first question, before it is known which protocol the server speaks (protocol B.1).</summary>
internal static class ViewerOperations
{
    internal static async Task<Viewer?> GetAsync(GraphQLTransport transport, CancellationToken token)
    {
        JsonElement data;
        try
        {
            data = await transport.QueryAsync(
                "Viewer",
                """
                query Viewer {
                  viewer { id entity username flags teams { edges { node { name } } } }
                }
                """,
                null,
                token
            );
        }
        catch (LaunchException e)
            when (e.ErrorId == "GraphQLError" && e.Message.Contains("Cannot query field", StringComparison.Ordinal))
        {
            // Servers of 2022 have no username here (protocol B.1).
            data = await transport.QueryAsync(
                "Viewer",
                """
                query Viewer {
                  viewer { id entity flags teams { edges { node { name } } } }
                }
                """,
                null,
                token
            );
        }

        return data.At("viewer") is { } viewer
            ? new Viewer(
                viewer.Text("id") ?? "",
                viewer.Text("entity"),
                viewer.Text("username") ?? viewer.Text("entity"),
                viewer.Items("teams", "edges").Select(e => e.Text("node", "name")).OfType<string>().ToArray()
            )
            : null;
    }
}
